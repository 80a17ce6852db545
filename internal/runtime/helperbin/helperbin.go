// Package helperbin carries the helper and the shim inside the main binary, compressed,
// and unpacks them. It owns the directory it is told to unpack to.
package helperbin

import (
	"archive/tar"
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

// Names by which the programs are called.
const (
	Shim    = "sinawi-shim"
	asked   = "containerd-shim-runc-v2" // as containerd looks for the shim of Runtime
	Runtime = "io.containerd.runc.v2"   // containerd ties the type of a runtime's options to this name
	OCI     = "runc"
	Pause   = "sinawi-pause"
	cni     = "sinawi-cni"
)

// names are those of each program in the archive.
func names() map[string][]string {
	return map[string][]string{
		"sinawi-shim":   {Shim},
		"sinawi-helper": {OCI, asked, Pause, cni},
	}
}

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
	if err := unpackAll(packed, temporary); err != nil {
		return err
	}
	err = os.Rename(temporary, target)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process unpacked the same
	}
	return err
}

// unpackAll writes each program of the archive under each of its names.
func unpackAll(packed []byte, dir string) error {
	decoder, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer decoder.Close()
	found := 0
	for archive := tar.NewReader(decoder); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		all := names()[header.Name]
		if len(all) == 0 {
			continue
		}
		found++
		first := filepath.Join(dir, all[0])
		if err := write(archive, first); err != nil {
			return err
		}
		// Hard links: a shim starts itself again by the name the kernel knows it by,
		// and of a symbolic link that would be the name it points to.
		for _, name := range all[1:] {
			if err := os.Link(first, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if found != len(names()) {
		return fmt.Errorf("%w (it holds %d of %d programs)", ErrMissing, found, len(names()))
	}
	return nil
}

func write(from io.Reader, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, from); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
