package decisions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// Of returns what was decided about the pods of a name, oldest first, from the
// log in a directory: also of pods that are gone. There is none where there is
// no log. The log may be written to at the same time.
func Of(dir, namespace, pod string) ([]Decision, error) {
	files, err := openAll(dir)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	wanted, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	var out []Decision
	for _, f := range slices.Backward(files) {
		err := lines(f, func(line []byte) {
			if !bytes.Contains(line, wanted) {
				return // most are about others, and decoding is what costs
			}
			var d Decision
			if json.Unmarshal(line, &d) == nil && d.Pod == pod && d.Namespace == namespace {
				out = append(out, d)
			}
		})
		if err != nil {
			return out, fmt.Errorf("read the decision log %s: %w", f.Name(), err)
		}
	}
	return out, nil
}

// openAll opens the files there are, the newest first. One that became older
// meanwhile is met again, and left out.
func openAll(dir string) (files []*os.File, err error) {
	var seen []os.FileInfo
	missing := 0
	for age := 0; ; age++ {
		f, err := os.Open(path(dir, age))
		if errors.Is(err, fs.ErrNotExist) {
			// One may be between two names just now.
			if missing++; missing > 1 {
				return files, nil
			}
			continue
		}
		if err != nil {
			return files, fmt.Errorf("open the decision log: %w", err)
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return files, fmt.Errorf("open the decision log: %w", err)
		}
		if slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, info) }) {
			f.Close()
			continue
		}
		seen, files = append(seen, info), append(files, f)
	}
}

func lines(r io.Reader, do func([]byte)) error {
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil // the rest is being written, or was torn
		}
		if err != nil {
			return err
		}
		do(line)
	}
}
