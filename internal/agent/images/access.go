package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// maxHashes bounds how many credentials are remembered for one image.
const maxHashes = 100

// access is how an image was pulled from one repository.
type access struct {
	Public bool     `json:"public,omitempty"`
	Hashes []string `json:"hashes,omitempty"`
}

// ledger remembers with which credentials images were pulled: image id →
// repository → access. It outlives the process in a file.
type ledger struct {
	path string // empty: memory only

	mu     sync.Mutex // guards images
	images map[string]map[string]access
}

func openLedger(path string) (*ledger, error) {
	l := &ledger{path: path, images: map[string]map[string]access{}}
	if path == "" {
		return l, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read the record of image pulls: %w", err)
	}
	if err := json.Unmarshal(data, &l.images); err != nil {
		l.images = map[string]map[string]access{}
		return l, fmt.Errorf("read the record of image pulls %s: %w", path, err)
	}
	return l, nil
}

// allows says whether an image that is here may be used with one of the hashed
// credentials. What was never pulled from here was put in by hand, for all.
func (l *ledger) allows(image, repo string, hashes func() []string) bool {
	l.mu.Lock()
	repos, pulled := l.images[image]
	how := repos[repo]
	l.mu.Unlock()
	if !pulled || how.Public {
		return true
	}
	if len(how.Hashes) == 0 {
		return false
	}
	return slices.ContainsFunc(hashes(), func(h string) bool { return slices.Contains(how.Hashes, h) })
}

// pulled notes a successful pull; an empty hash is one without credentials.
func (l *ledger) pulled(image, repo, hash string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	repos := l.images[image]
	if repos == nil {
		repos = map[string]access{}
		l.images[image] = repos
	}
	how := repos[repo]
	switch {
	case hash == "" && how.Public, hash != "" && slices.Contains(how.Hashes, hash):
		return nil
	case hash == "":
		how = access{Public: true}
	default:
		how.Hashes = append(how.Hashes, hash)
		if len(how.Hashes) > maxHashes {
			how.Hashes = how.Hashes[1:]
		}
	}
	repos[repo] = how
	return l.save()
}

// keep forgets all images but those given.
func (l *ledger) keep(ids map[string]bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := false
	for id := range l.images {
		if !ids[id] {
			delete(l.images, id)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return l.save()
}

// save replaces the file; l.mu is held.
func (l *ledger) save() error {
	if l.path == "" {
		return nil
	}
	data, err := json.Marshal(l.images)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	temp := l.path + ".tmp"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, l.path)
}
