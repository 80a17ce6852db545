package engine

import "container/heap"

// class is a set of pods that ask for the same, with the nodes that are
// feasible for it.
//
// Invariants: heap holds exactly the slots that were feasible when the class
// last caught up; position[s] is where slot s is in heap, or -1; seen[s] is the
// version of the node in slot s that score[s] was computed from.
type class struct {
	key  Key
	req  request
	next uint64 // sequence number of the first change that it has not read
	used uint64 // when it was last asked for, for dropping the least used

	heap     []int
	position []int
	score    []float64
	seen     []uint64
}

func newClass(key Key, req request) *class { return &class{key: key, req: req} }

// grow makes room for slots up to n.
func (c *class) grow(n int) {
	for len(c.position) < n {
		c.position = append(c.position, -1)
		c.score = append(c.score, 0)
		c.seen = append(c.seen, 0)
	}
}

// refresh brings what the class knows of one slot up to date.
func (c *class) refresh(slot int, n *node) {
	c.grow(slot + 1)
	in := c.position[slot] >= 0
	if n == nil || n.object == nil {
		c.seen[slot] = 0
		if in {
			heap.Remove((*byScore)(c), c.position[slot])
		}
		return
	}
	if c.seen[slot] == n.version {
		return
	}
	c.seen[slot] = n.version
	feasible := n.refusal(&c.req) == nil
	if feasible {
		c.score[slot] = n.score(c.key, &c.req)
	}
	switch {
	case feasible && in:
		heap.Fix((*byScore)(c), c.position[slot])
	case feasible:
		heap.Push((*byScore)(c), slot)
	case in:
		heap.Remove((*byScore)(c), c.position[slot])
	}
}

// byScore orders the heap: best score first, then the lower slot, so that
// decisions can be repeated.
type byScore class

func (h *byScore) Len() int { return len(h.heap) }

func (h *byScore) Less(i, j int) bool {
	a, b := h.heap[i], h.heap[j]
	if h.score[a] != h.score[b] {
		return h.score[a] > h.score[b]
	}
	return a < b
}

func (h *byScore) Swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.position[h.heap[i]], h.position[h.heap[j]] = i, j
}

func (h *byScore) Push(x any) {
	slot := x.(int)
	h.position[slot] = len(h.heap)
	h.heap = append(h.heap, slot)
}

func (h *byScore) Pop() any {
	slot := h.heap[len(h.heap)-1]
	h.heap = h.heap[:len(h.heap)-1]
	h.position[slot] = -1
	return slot
}
