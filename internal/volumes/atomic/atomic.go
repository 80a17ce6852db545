// Package atomic publishes a set of files in a directory so that a reader sees
// either all of the old set or all of the new, never a mixture: the files lie in
// a directory of their own, "..data" is a symbolic link to it that is replaced
// by rename, and each visible name is a link through "..data".
//
// Nothing is written when the set is already as wanted, and a crash between any
// two steps leaves a set that the next Write completes or replaces.
package atomic

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is what a path shall hold.
type File struct {
	Data []byte
	Mode fs.FileMode
	// UID owns the file when not nil.
	UID *int64
}

// Files are the files of a set by slash-separated relative path.
type Files map[string]File

const (
	dataLink = "..data"
	dataTemp = "..data_tmp"
	stamp    = "..set_"
)

// Write makes dir publish exactly files. gid, when not nil, owns them. It
// answers whether anything changed.
func Write(dir string, files Files, gid *int64) (bool, error) {
	for path := range files {
		if err := check(path); err != nil {
			return false, err
		}
	}
	current, _ := os.Readlink(filepath.Join(dir, dataLink))
	if current != "" && same(filepath.Join(dir, current), files) {
		return false, errors.Join(link(dir, files), sweep(dir, current, files))
	}
	fresh, err := os.MkdirTemp(dir, stamp)
	if err != nil {
		return false, err
	}
	if err := fill(fresh, files, gid); err != nil {
		return false, errors.Join(err, os.RemoveAll(fresh))
	}
	temp := filepath.Join(dir, dataTemp)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Symlink(filepath.Base(fresh), temp); err != nil {
		return false, err
	}
	if err := os.Rename(temp, filepath.Join(dir, dataLink)); err != nil {
		return false, err
	}
	return true, errors.Join(link(dir, files), sweep(dir, filepath.Base(fresh), files))
}

// check refuses a path that would leave the directory or meet our own names.
func check(path string) error {
	if path == "" || filepath.IsAbs(path) || len(path) > 4096 {
		return fmt.Errorf("invalid path %q: must be relative and not empty", path)
	}
	for i, part := range strings.Split(filepath.ToSlash(path), "/") {
		if part == ".." || i == 0 && strings.HasPrefix(part, "..") {
			return fmt.Errorf("invalid path %q: must not contain '..' or start with it", path)
		}
	}
	return nil
}

func same(dir string, files Files) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, ok := files[filepath.ToSlash(rel)]
		if !ok {
			return fs.ErrNotExist
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm() != want.Mode.Perm() {
			return errors.Join(err, fs.ErrInvalid)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, want.Data) {
			return errors.Join(err, fs.ErrInvalid)
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

func fill(dir string, files Files, gid *int64) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for path, file := range files {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, file.Data, file.Mode); err != nil {
			return err
		}
		// The umask has taken bits off the mode.
		if err := os.Chmod(full, file.Mode); err != nil {
			return err
		}
		if err := own(full, file, gid); err != nil {
			return err
		}
	}
	return nil
}

func own(path string, file File, gid *int64) error {
	uid, group := -1, -1
	if file.UID != nil {
		uid = int(*file.UID)
	}
	if gid != nil {
		group = int(*gid)
	}
	if uid < 0 && group < 0 {
		return nil
	}
	return os.Lchown(path, uid, group)
}

// visible are the names that stand in the directory itself.
func visible(files Files) []string {
	var names []string
	for path := range files {
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		names = append(names, first)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func link(dir string, files Files) error {
	for _, name := range visible(files) {
		path := filepath.Join(dir, name)
		target := filepath.Join(dataLink, name)
		if now, err := os.Readlink(path); err == nil && now == target {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what no set names any more: old data directories and links.
func sweep(dir, keep string, files Files) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	names := visible(files)
	var problems []error
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case name == keep, name == dataLink, slices.Contains(names, name):
		case strings.HasPrefix(name, stamp), entry.Type() == fs.ModeSymlink:
			problems = append(problems, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(problems...)
}
