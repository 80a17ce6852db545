// Package seal encrypts what must not lie readable on disk: the values of
// secrets, and of whatever else is named. The format is upstream's secretbox
// provider, so an EncryptionConfiguration with the same key reads it.
//
// The key is one file, readable by its owner only, made at the first start.
// Whoever has a backup of the store alone cannot read sealed values; whoever
// loses the key loses them, so a new key is never made where sealed values
// exist. Values that were written in the clear are read as they are and sealed
// at their next write.
package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
)

// prefix marks a sealed value and names its key.
const prefix = "k8s:enc:secretbox:v1:sinawi:"

const keySize = 32

// Open returns what seals and opens values with the key in file. reader is
// the store, where it is looked whether a missing key was there once; keys
// are the places in it that hold sealed values.
func Open(ctx context.Context, file string, reader clientv3.KV, keys ...string) (value.Transformer, error) {
	key, err := read(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := refuseWhenSealed(ctx, file, reader, keys); err != nil {
			return nil, err
		}
		key, err = create(file)
	}
	if err != nil {
		return nil, fmt.Errorf("encryption key: %w", err)
	}
	return New(key), nil
}

// New returns what seals and opens values with key.
func New(key [keySize]byte) value.Transformer {
	return value.NewPrefixTransformers(errors.New("the value is encrypted with a key that this server does not have"),
		value.PrefixTransformer{Prefix: []byte(prefix), Transformer: secretbox.NewSecretboxTransformer(key)},
		value.PrefixTransformer{Prefix: []byte{}, Transformer: identity.NewEncryptCheckTransformer()},
	)
}

// For gives each of the resources the same transformer.
func For(t value.Transformer, resources ...schema.GroupResource) map[schema.GroupResource]value.Transformer {
	out := make(map[schema.GroupResource]value.Transformer, len(resources))
	for _, r := range resources {
		out[r] = t
	}
	return out
}

func refuseWhenSealed(ctx context.Context, file string, reader clientv3.KV, keys []string) error {
	for _, key := range keys {
		// One value is enough: all are written the same way, but for those
		// from before sealing was on, which a restore may have left.
		got, err := reader.Get(ctx, key, clientv3.WithPrefix(), clientv3.WithLimit(100))
		if err != nil {
			return fmt.Errorf("look for sealed values: %w", err)
		}
		for _, kv := range got.Kvs {
			if bytes.HasPrefix(kv.Value, []byte(prefix)) {
				return fmt.Errorf("the store holds values encrypted with the key %s, which is missing; restore it from a backup, or delete what lies under %s", file, key)
			}
		}
	}
	return nil
}

func read(file string) (key [keySize]byte, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return key, err
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(raw) != keySize {
		return key, fmt.Errorf("%s is no key of %d bytes in base64; restore it from a backup", file, keySize)
	}
	return [keySize]byte(raw), nil
}

// create makes a key and has it on disk, name and all, before it is used.
func create(file string) (key [keySize]byte, err error) {
	_, _ = rand.Read(key[:])                                    // never fails
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-key-*") // 0600
	if err != nil {
		return key, err
	}
	defer os.Remove(tmp.Name()) // gone already when the rename succeeded
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return key, err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return key, err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return key, err
	}
	return key, errors.Join(dir.Sync(), dir.Close())
}
