package conformance

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// names are the known names, in the order of the list.
func names(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("names.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// quoted are the names that tests quote, with the places.
func quoted(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, dir := range []string{"test", "internal", "lab"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			number := 0
			for line := range strings.Lines(string(data)) {
				number++
				if name, ok := strings.CutPrefix(strings.TrimSpace(line), "// Conformance: "); ok {
					place := fmt.Sprintf("%s:%d", strings.TrimPrefix(path, root+"/"), number)
					out[name] = append(out[name], place)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestQuotedNamesExist(t *testing.T) {
	known := map[string]bool{}
	for _, name := range names(t) {
		known[name] = true
	}
	for name, places := range quoted(t) {
		if !known[name] {
			t.Errorf("%s: no conformance test has the name %q", strings.Join(places, ", "), name)
		}
	}
}

// TestCoverage says what is not quoted yet, by special interest group.
func TestCoverage(t *testing.T) {
	have := quoted(t)
	all, missing := map[string]int{}, map[string][]string{}
	for _, name := range names(t) {
		group, _, _ := strings.Cut(strings.TrimPrefix(name, "["), "]")
		all[group]++
		if len(have[name]) == 0 {
			missing[group] = append(missing[group], name)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%s: %d of %d quoted", group, all[group]-len(missing[group]), all[group])
		for _, name := range missing[group] {
			t.Logf("  not yet: %s", name)
		}
	}
}
