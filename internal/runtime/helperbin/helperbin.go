// Package helperbin carries the helper binary inside the main one, compressed, and
// unpacks it. It owns the directory it is told to unpack to.
package helperbin

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

//go:embed all:embedded
var embedded embed.FS

// ErrMissing says that this binary was built without the helper.
var ErrMissing = errors.New("this sinawi was built without its helper binary and cannot run containers: run `make helper`, then build again")

// Names that the helper answers to.
const (
	Shim    = "containerd-shim-runc-v2" // as containerd looks for the shim of Runtime
	Runtime = "io.containerd.runc.v2"   // containerd ties the type of a runtime's options to this name
	OCI     = "runc"
	Pause   = "sinawi-pause"
	cni     = "sinawi-cni"
)

func names() []string { return []string{Shim, OCI, Pause, cni} }

// Unpack makes sure that the helper lies below dir and returns the directory that
// holds it under each of its names. Every version has a directory of its own, named
// by its hash: a running shim keeps the file it was started from.
func Unpack(dir string) (string, error) {
	// The build notes the hash, so that a start need not read the whole of it.
	sum, err := embedded.ReadFile("embedded/helper.sum")
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrMissing
	}
	if err != nil {
		return "", fmt.Errorf("read embedded helper: %w", err)
	}
	target := filepath.Join(dir, string(sum))
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	packed, err := embedded.ReadFile("embedded/helper.zst")
	if err != nil {
		return "", fmt.Errorf("read embedded helper: %w", err)
	}
	if err := unpack(packed, dir, target); err != nil {
		return "", fmt.Errorf("unpack helper: %w", err)
	}
	return target, nil
}

// unpack fills a temporary directory and renames it, so that target is whole or
// not there.
func unpack(packed []byte, dir, target string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(dir, ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	first := filepath.Join(temporary, names()[0])
	if err := write(packed, first); err != nil {
		return err
	}
	// Hard links: a shim starts itself again by the name the kernel knows it by, and
	// of a symbolic link that would be the name it points to.
	for _, name := range names()[1:] {
		if err := os.Link(first, filepath.Join(temporary, name)); err != nil {
			return err
		}
	}
	err = os.Rename(temporary, target)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process unpacked the same
	}
	return err
}

func write(packed []byte, path string) error {
	r, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
