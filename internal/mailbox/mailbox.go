// Package mailbox hands what happens to the one loop that acts on it.
//
// A mailbox promises that nobody who puts something in ever waits, however busy
// the loop is, and that the loop takes everything in the order in which it came.
// It starts no goroutine and drops nothing.
package mailbox

import "sync"

// Mailbox collects letters from any number of senders for one taker.
type Mailbox[T any] struct {
	ready chan struct{} // holds one token while there are letters

	mu      sync.Mutex // guards letters
	letters []T
}

// New returns an empty mailbox.
func New[T any]() *Mailbox[T] { return &Mailbox[T]{ready: make(chan struct{}, 1)} }

// Put adds a letter.
func (m *Mailbox[T]) Put(letter T) {
	m.mu.Lock()
	m.letters = append(m.letters, letter)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// Take empties the mailbox and returns what was in it, oldest first. It does not
// wait.
func (m *Mailbox[T]) Take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	m.letters = nil
	return letters
}

// Ready yields when letters may have come since the last Take. A loop that takes
// without having asked may find the mailbox empty the next time it is woken.
func (m *Mailbox[T]) Ready() <-chan struct{} { return m.ready }
