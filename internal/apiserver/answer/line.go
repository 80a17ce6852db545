package answer

import (
	"container/heap"
	"net/http"
	"sync"
)

// line gives out turns. Who came first goes first, also with the next piece: of many
// large answers the first are done while the last have not begun, where with a piece
// for each all of them would end late.
type line struct {
	mu      sync.Mutex
	free    int
	last    uint64 // place of who came last
	waiting places
}

// place is where an answer stands in line: the order of arrival, from 1. It is zero
// before the answer has asked for its first turn.
type place struct {
	number uint64
	called chan struct{} // receives once for each turn that was waited for
	index  int           // in line.waiting, -1 if it does not wait there
}

func newLine(turns int) *line { return &line{free: max(1, turns)} }

// await returns when it is p's turn, or with an error when ended is closed before.
func (l *line) await(p *place, ended <-chan struct{}) error {
	l.mu.Lock()
	if p.number == 0 {
		l.last++
		*p = place{number: l.last, called: make(chan struct{}, 1), index: -1}
	}
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return nil
	}
	heap.Push(&l.waiting, p)
	l.mu.Unlock()
	select {
	case <-p.called:
		return nil
	case <-ended:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.index >= 0 {
		heap.Remove(&l.waiting, p.index)
	} else {
		<-p.called
		l.next()
	}
	return http.ErrHandlerTimeout
}

// yield gives a turn back.
func (l *line) yield() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next()
}

// next hands a turn to who waits for it. The caller holds mu.
func (l *line) next() {
	if len(l.waiting) == 0 {
		l.free++
		return
	}
	heap.Pop(&l.waiting).(*place).called <- struct{}{}
}

// places is a heap, the first to come on top.
type places []*place

func (h places) Len() int           { return len(h) }
func (h places) Less(i, j int) bool { return h[i].number < h[j].number }
func (h places) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *places) Push(x any) {
	p := x.(*place)
	p.index = len(*h)
	*h = append(*h, p)
}

// Pop implements [heap.Interface].
func (h *places) Pop() any {
	end := len(*h) - 1
	p := (*h)[end]
	(*h)[end] = nil
	*h = (*h)[:end]
	p.index = -1
	return p
}
