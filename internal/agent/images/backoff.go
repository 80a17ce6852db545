package images

import (
	"maps"
	"sync"
	"time"
)

const (
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
)

// backoffs remembers failed pulls by pod and image.
type backoffs struct {
	mu    sync.Mutex // guards known
	known map[string]failure
}

type failure struct {
	at    time.Time
	delay time.Duration
	words string
}

func newBackoffs() *backoffs { return &backoffs{known: map[string]failure{}} }

// in says whether a pull has to wait, until when, and what the last one failed of.
func (b *backoffs) in(key string, now time.Time) (until time.Time, words string, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, ok := b.known[key]
	until = f.at.Add(f.delay)
	return until, f.words, ok && now.Before(until)
}

// failed doubles the wait, or begins anew when the last failure is long ago.
func (b *backoffs) failed(key string, now time.Time, words string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.known, func(_ string, f failure) bool { return now.Sub(f.at) > 2*backoffMax })
	delay := backoffFirst
	if f, ok := b.known[key]; ok {
		delay = min(2*f.delay, backoffMax)
	}
	b.known[key] = failure{at: now, delay: delay, words: words}
}

func (b *backoffs) forget(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, key)
}
