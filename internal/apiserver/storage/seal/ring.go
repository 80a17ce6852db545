package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
)

const (
	// provider marks values sealed in this way; the key's name follows it.
	provider = "k8s:enc:secretbox:v1:"
	// firstName is the name of the key of a new cluster, and begins all others.
	firstName = "sinawi"
	ownPrefix = provider + firstName

	keySize = 32
)

// Key seals values that carry its name.
type Key struct {
	Name string
	key  [keySize]byte
}

func newKey(name string) Key {
	k := Key{Name: name}
	_, _ = rand.Read(k.key[:]) // never fails
	return k
}

func (k Key) prefix() []byte { return []byte(provider + k.Name + ":") }

// ring opens values by any of the keys and seals with the first. Values in the
// clear are read as they are, and count as to be written anew.
func ring(keys []Key) value.Transformer {
	var all []value.PrefixTransformer
	for _, k := range keys {
		all = append(all, value.PrefixTransformer{Prefix: k.prefix(), Transformer: secretbox.NewSecretboxTransformer(k.key)})
	}
	all = append(all, value.PrefixTransformer{Prefix: []byte{}, Transformer: identity.NewEncryptCheckTransformer()})
	return value.NewPrefixTransformers(errors.New("the value is encrypted with a key that this server does not have"), all...)
}

// readKeys reads a file of keys, the sealing one first: a line holds a name
// and a key in base64, or only the key where the name is the first's.
func readKeys(file string) ([]Key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseKeys(file, data)
}

func parseKeys(file string, data []byte) ([]Key, error) {
	var keys []Key
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 1 {
			words = []string{firstName, words[0]}
		}
		if len(words) == 0 {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(words[1])
		if err != nil || len(raw) != keySize || len(words) > 2 || strings.Contains(words[0], ":") {
			return nil, fmt.Errorf("%s is no key of %d bytes in base64; restore it from a backup", file, keySize)
		}
		for _, k := range keys {
			if k.Name == words[0] {
				return nil, fmt.Errorf("%s has two keys of the name %s; leave the one that sealed values need", file, k.Name)
			}
		}
		keys = append(keys, Key{words[0], [keySize]byte(raw)})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s is no key of %d bytes in base64; restore it from a backup", file, keySize)
	}
	return keys, nil
}

func formatKeys(keys []Key) []byte {
	var out bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&out, "%s %s\n", k.Name, base64.StdEncoding.EncodeToString(k.key[:]))
	}
	return out.Bytes()
}

// Rotate puts a new key before those in the file and returns its name. A server
// that runs takes it up at once, another when it starts.
func Rotate(file string) (name string, err error) {
	err = exclusively(file, func() error {
		keys, err := readKeys(file)
		if err != nil {
			return err
		}
		suffix := make([]byte, 4)
		_, _ = rand.Read(suffix) // never fails
		name = firstName + "-" + hex.EncodeToString(suffix)
		return writeKeys(file, append([]Key{newKey(name)}, keys...))
	})
	return name, err
}

// Pending says how many older keys a file still holds, which is none when
// everything has been written with the newest.
func Pending(file string) (int, error) {
	keys, err := readKeys(file)
	return len(keys) - 1, err
}

// RetiredFile is where the keys go that nothing in the store needs any more.
func RetiredFile(file string) string { return file + ".retired" }

// retire moves all keys but the one called name into the file of retired keys.
// It does nothing when another key has come before it meanwhile.
func retire(file, name string) error {
	return exclusively(file, func() error {
		keys, err := readKeys(file)
		if err != nil {
			return err
		}
		if len(keys) == 1 || keys[0].Name != name {
			return nil
		}
		before, err := os.ReadFile(RetiredFile(file))
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := writeFile(RetiredFile(file), append(before, formatKeys(keys[1:])...)); err != nil {
			return err
		}
		return writeKeys(file, keys[:1])
	})
}

// exclusively keeps the command that adds a key and the server that retires
// one from writing over each other.
func exclusively(file string, do func() error) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", filepath.Dir(file), err)
	}
	return do()
}

func writeKeys(file string, keys []Key) error { return writeFile(file, formatKeys(keys)) }

// writeFile has the data on disk, name and all, before it is used.
func writeFile(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when the rename succeeded
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
