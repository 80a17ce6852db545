package proxy

import "sync"

// letter is one change of an object.
type letter struct {
	object  any
	deleted bool
}

// mailbox hands changes from the informers' goroutines to the loop in order. It
// never blocks a sender.
type mailbox struct {
	ready chan struct{} // holds one token while there are letters

	mu      sync.Mutex // guards letters
	letters []letter
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

func (m *mailbox) put(l letter) {
	m.mu.Lock()
	m.letters = append(m.letters, l)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.letters
	m.letters = nil
	return out
}
