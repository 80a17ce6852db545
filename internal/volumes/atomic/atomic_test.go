package atomic

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// published is what a reader of dir sees: path → mode and content.
func published(t *rapid.T, dir string) map[string]string {
	seen := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		top := filepath.Join(dir, entry.Name())
		real, err := filepath.EvalSymlinks(top)
		if err != nil {
			t.Fatalf("a name leads nowhere: %v", err)
		}
		err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			seen[strings.TrimSuffix(entry.Name()+"/"+strings.TrimPrefix(strings.TrimPrefix(path, real), "/"), "/")] = info.Mode().String() + string(data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen
}

// sets draws files whose paths do not contradict each other.
func sets() *rapid.Generator[Files] {
	return rapid.Custom(func(t *rapid.T) Files {
		files := Files{}
		paths := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c.conf", "d/x", "d/y", "d/e/z", ".hidden"}), func(s string) string { return s }).Draw(t, "paths")
		for _, path := range paths {
			files[path] = File{
				Data: []byte(rapid.StringMatching(`[xy]{0,2}`).Draw(t, "data")),
				Mode: rapid.SampledFrom([]fs.FileMode{0o400, 0o644, 0o755, 0o666}).Draw(t, "mode"),
			}
		}
		return files
	})
}

// Whatever stood there before, and whatever a crash has left, after Write a
// reader sees exactly the set; writing it again changes nothing; nothing piles up.
func TestWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "atomic")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for _, files := range rapid.SliceOfN(sets(), 1, 4).Draw(t, "sets") {
			switch rapid.IntRange(0, 4).Draw(t, "crash") {
			case 0: // half-written set
				half := filepath.Join(dir, stamp+"half")
				if err := os.MkdirAll(filepath.Join(half, "d"), 0o755); err != nil {
					t.Fatal(err)
				}
			case 1: // the link was made but not put in place
				os.Symlink("nowhere", filepath.Join(dir, dataTemp))
			case 2: // a name was not yet removed, another not yet made
				os.Symlink("..data/old", filepath.Join(dir, "old"))
				os.Remove(filepath.Join(dir, "a"))
			case 3: // the set itself was damaged
				os.Remove(filepath.Join(dir, dataLink, "b"))
			}
			if _, err := Write(dir, files, nil); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for path, file := range files {
				want[path] = file.Mode.String() + string(file.Data)
			}
			if diff := cmp.Diff(want, published(t, dir)); diff != "" {
				t.Fatal(diff)
			}
			if changed, err := Write(dir, files, nil); err != nil || changed {
				t.Fatalf("written again: %v %v", changed, err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(entries); n != len(visible(files))+2 {
				t.Fatalf("%d names for %d", n, len(visible(files)))
			}
		}
	})
}

func TestRefused(t *testing.T) {
	for _, path := range []string{"", "/etc/passwd", "..", "../x", "a/../b", "..data", "..x/y", "a/..", strings.Repeat("x", 5000)} {
		dir := t.TempDir()
		if _, err := Write(dir, Files{path: {}}, nil); err == nil {
			t.Errorf("%q was written", path)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("%q left %v", path, entries)
		}
	}
}

// A reader that goes through ..data sees one set or the other, never a mixture.
func TestNoMixture(t *testing.T) {
	dir := t.TempDir()
	set := func(text string) Files {
		return Files{"a": {Data: []byte(text), Mode: 0o644}, "b": {Data: []byte(text), Mode: 0o644}}
	}
	if _, err := Write(dir, set("0"), nil); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan []string)
	go func() {
		var mixed []string
		defer func() { done <- mixed }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			set, err := os.OpenRoot(filepath.Join(dir, dataLink))
			if err != nil {
				mixed = append(mixed, err.Error())
				continue
			}
			a, errA := set.ReadFile("a")
			b, errB := set.ReadFile("b")
			set.Close()
			// A set that was replaced while it was read is gone, not changed.
			if errA == nil && errB == nil && string(a) != string(b) {
				mixed = append(mixed, string(a)+string(b))
			}
		}
	}()
	for i := range 200 {
		if _, err := Write(dir, set(strings.Repeat("x", i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	mixed := slices.DeleteFunc(<-done, func(s string) bool { return strings.Contains(s, "no such file") })
	if len(mixed) > 0 {
		t.Errorf("seen: %q", mixed)
	}
}
