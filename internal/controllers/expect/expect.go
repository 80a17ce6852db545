// Package expect keeps a controller from acting twice on what it has already
// done but does not see in its cache yet.
//
// A controller reports every object it created or deleted; until the cache shows
// them, Settled says no and the controller must not create or delete more for
// that owner. It starts no goroutine and keeps nothing for owners at rest.
package expect

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// missed is how long a created object may be absent from a cache that has
	// already gone past its creation; then it was deleted in between.
	missed = 2 * time.Second
	// lost bounds the wait when a cache never comes to show a write.
	lost = 5 * time.Minute
)

// Tracker remembers the writes of one controller that its cache has not shown.
type Tracker struct {
	mu     sync.Mutex // guards the fields below
	seen   string     // highest resource version the cache delivered
	owners map[types.UID]*pending
}

type pending struct {
	created map[types.UID]write
	updated map[types.UID]write
	deleted map[types.UID]time.Time
}

type write struct {
	version string
	at      time.Time
}

// New returns an empty tracker.
func New() *Tracker { return &Tracker{owners: map[types.UID]*pending{}} }

// Seen notes that the cache delivered this state of a tracked kind. It is called
// from the watch, before the owner is enqueued.
func (t *Tracker) Seen(obj client.Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if later(obj.GetResourceVersion(), t.seen) {
		t.seen = obj.GetResourceVersion()
	}
}

// Created notes that obj, as the API server returned it, was created for owner.
func (t *Tracker) Created(owner types.UID, obj client.Object, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owner(owner).created[obj.GetUID()] = write{version: obj.GetResourceVersion(), at: now}
}

// Updated notes that obj, as the API server returned it, was changed for owner.
func (t *Tracker) Updated(owner types.UID, obj client.Object, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owner(owner).updated[obj.GetUID()] = write{version: obj.GetResourceVersion(), at: now}
}

// Deleted notes that the object with this uid was asked to go.
func (t *Tracker) Deleted(owner, uid types.UID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owner(owner).deleted[uid] = now
}

func (t *Tracker) owner(uid types.UID) *pending {
	p := t.owners[uid]
	if p == nil {
		p = &pending{
			created: map[types.UID]write{},
			updated: map[types.UID]write{},
			deleted: map[types.UID]time.Time{},
		}
		t.owners[uid] = p
	}
	return p
}

// Forget drops what is known of an owner that is gone.
func (t *Tracker) Forget(owner types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.owners, owner)
}

// Settled says whether the cache shows all writes made for owner. objects are
// all of the owner's objects that the cache has. When it is not settled, ask
// again after the returned delay even if no event comes.
func Settled[T client.Object](t *Tracker, owner types.UID, objects []T, now time.Time) (bool, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.owners[owner]
	if p == nil {
		return true, 0
	}
	visible := make(map[types.UID]client.Object, len(objects))
	for _, obj := range objects {
		visible[obj.GetUID()] = obj
	}
	p.settle(visible, t.seen, now)
	switch {
	case len(p.created) > 0:
		return false, missed
	case len(p.deleted) > 0 || len(p.updated) > 0:
		return false, lost
	}
	delete(t.owners, owner)
	return true, 0
}

// settle drops what the cache shows or what has been waited for long enough.
func (p *pending) settle(visible map[types.UID]client.Object, seen string, now time.Time) {
	for uid, w := range p.created {
		age := now.Sub(w.at)
		gone := !later(w.version, seen) && age >= missed
		if visible[uid] != nil || gone || age >= lost {
			delete(p.created, uid)
		}
	}
	for uid, w := range p.updated {
		obj := visible[uid]
		if obj == nil || !later(w.version, obj.GetResourceVersion()) || now.Sub(w.at) >= lost {
			delete(p.updated, uid)
		}
	}
	for uid, at := range p.deleted {
		obj := visible[uid]
		if obj == nil || obj.GetDeletionTimestamp() != nil || now.Sub(at) >= lost {
			delete(p.deleted, uid)
		}
	}
}

// later says whether version a is newer than b. Versions that are no numbers do
// not compare; the time limits decide then.
func later(a, b string) bool {
	if b == "" {
		return a != ""
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
