package workload

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// many is from how many objects on an owner is paced: one with fewer is
	// looked at as soon as anything changes.
	many = 500
	// rest is how long an owner is left alone for each object it has. Looking
	// takes a few microseconds for each, so this bounds what owners of very many
	// objects cost while those change, and how often their status is written.
	rest = 20 * time.Microsecond
)

// Pace keeps owners of very many objects from being reconciled at every change
// of one of them.
type Pace struct {
	mu    sync.Mutex
	until map[types.NamespacedName]time.Time // guarded by mu; owners of few have none
}

// NewPace returns a pace that lets everybody go on.
func NewPace() *Pace { return &Pace{until: map[types.NamespacedName]time.Time{}} }

// Wait says how long an owner is still to be left alone.
func (p *Pace) Wait(owner types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.until[owner].Sub(now), 0)
}

// Looked notes that an owner was reconciled and had so many objects.
func (p *Pace) Looked(owner types.NamespacedName, objects int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if objects < many {
		delete(p.until, owner)
		return
	}
	p.until[owner] = now.Add(time.Duration(objects) * rest)
}
