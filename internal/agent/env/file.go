package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile is how long a file of variables may be: a container wrote it.
const maxFile = 1 << 20

// readKey looks a variable up in a file that a container left in a volume. No
// link leads out of the volume.
func readKey(dir, path, key string) (string, bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", false, err
	}
	defer root.Close()
	file, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", false, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", false, fmt.Errorf("%s must be a regular file of at most %d bytes", path, maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return "", false, err
	}
	vars, err := ParseFile(string(data))
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", path, err)
	}
	value, ok := vars[key]
	return value, ok, nil
}

// ParseFile parses a file of variables: NAME='value' on a line each, where a
// value is taken as it stands and may go over several lines; blank lines and
// those that begin with # mean nothing.
func ParseFile(text string) (map[string]string, error) {
	vars := map[string]string{}
	number := 0
	for text != "" {
		number++
		line, rest, _ := strings.Cut(text, "\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			text = rest
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("line %d: want NAME='value'", number)
		}
		value := strings.TrimLeft(text[strings.Index(text, "=")+1:], " \t")
		if !strings.HasPrefix(value, "'") {
			return nil, fmt.Errorf("line %d: the value of %s must stand in single quotes", number, name)
		}
		value, after, closed := strings.Cut(value[1:], "'")
		if !closed {
			return nil, fmt.Errorf("line %d: the quote of %s is not closed", number, name)
		}
		number += strings.Count(value, "\n")
		tail, rest, _ := strings.Cut(after, "\n")
		if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
			return nil, fmt.Errorf("line %d: nothing may follow the value of %s", number, name)
		}
		vars[name] = value
		text = rest
	}
	return vars, nil
}
