package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// step is one command of a script.
type step struct {
	line    int
	text    string
	fails   bool
	env     []string
	args    []string
	into    string // the file that the output is kept in
	wanted  []string
	refused []string // what must not be in the output
}

// parse reads a script: commands, each followed by indented lines that must be in its
// output, or with a "-" and a space before them must not. A command that must fail
// has a "!" before it; "> file" behind it keeps its output. $NS is the namespace.
func parse(text, namespace string) ([]step, error) {
	var steps []step
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.ReplaceAll(strings.TrimRight(line, "\n"), "$NS", namespace)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " "):
			if len(steps) == 0 {
				return nil, fmt.Errorf("line %d: output of no command", number)
			}
			s := &steps[len(steps)-1]
			if want := strings.TrimSpace(line); strings.HasPrefix(want, "- ") {
				s.refused = append(s.refused, want[2:])
			} else {
				s.wanted = append(s.wanted, want)
			}
		default:
			s := step{line: number, text: line}
			line, s.fails = strings.CutPrefix(line, "! ")
			words, err := split(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			for len(words) > 0 && words[0] != "kubectl" {
				s.env, words = append(s.env, words[0]), words[1:]
			}
			if len(words) == 0 {
				return nil, fmt.Errorf("line %d: no kubectl", number)
			}
			if s.args = words[1:]; len(s.args) > 2 && s.args[len(s.args)-2] == ">" {
				s.into, s.args = s.args[len(s.args)-1], s.args[:len(s.args)-2]
			}
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// split cuts a line into words; single quotes keep spaces.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inside, any := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			inside, any = !inside, true
		case r == ' ' && !inside:
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if inside {
		return nil, fmt.Errorf("a quote is open in %q", line)
	}
	if any {
		words = append(words, word.String())
	}
	return words, nil
}

// script runs a script of testdata in a namespace of its own.
func (c *cluster) script(t *testing.T, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	k := c.in(t)
	for _, f := range archive.Files {
		k.file(f.Name, strings.ReplaceAll(string(f.Data), "$NS", k.namespace))
	}
	k.file("tls.crt", string(c.server.Config.CertData))
	k.file("tls.key", string(c.server.Config.KeyData))
	steps, err := parse(string(archive.Comment), k.namespace)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, s := range steps {
		out, err := k.try(s.env, s.args...)
		if (err != nil) != s.fails {
			t.Errorf("%s:%d: %s: %v\n%s", name, s.line, s.text, err, out)
			continue
		}
		if s.into != "" {
			k.file(s.into, out)
		}
		s.check(t, name, out)
	}
}

func (s step) check(t *testing.T, name, out string) {
	t.Helper()
	for _, want := range s.wanted {
		if !strings.Contains(plain(out), plain(want)) {
			t.Errorf("%s:%d: %s: no %q in\n%s", name, s.line, s.text, want, out)
		}
	}
	for _, bad := range s.refused {
		if strings.Contains(plain(out), plain(bad)) {
			t.Errorf("%s:%d: %s: %q in\n%s", name, s.line, s.text, bad, out)
		}
	}
}

// TestScriptsAreRun finds scripts that no test runs.
func TestScriptsAreRun(t *testing.T) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		found := false
		for _, s := range scripts {
			found = found || s+".txtar" == f.Name()
		}
		if !found {
			t.Errorf("%s is not in the list of scripts", f.Name())
		}
	}
}
