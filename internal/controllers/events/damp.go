package events

import (
	"fmt"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/lru"
)

const (
	// An object may tell of one thing so many times at once, and so many times a
	// second. The broadcaster writes 25 events about an object and one each five
	// minutes; it counts the others at a cost that a rush of thousands feels.
	dampBurst = 100
	dampRate  = 10
	// dampObjects is how many objects are remembered, as the broadcaster does.
	dampObjects = 4096
)

// Damped returns a recorder that hears a flood of events in part.
func Damped(of record.EventRecorder) record.EventRecorder {
	return &damped{of: of, told: lru.New(dampObjects)}
}

type damped struct {
	of   record.EventRecorder
	told *lru.Cache // *rate.Limiter by topic
}

type topic struct {
	object types.UID
	reason string
}

func (d *damped) hears(obj runtime.Object, reason string) bool {
	m, err := meta.Accessor(obj)
	if err != nil {
		return true // a reference, of what is told seldom
	}
	key := topic{m.GetUID(), reason}
	found, ok := d.told.Get(key)
	if !ok {
		found = rate.NewLimiter(dampRate, dampBurst)
		d.told.Add(key, found)
	}
	return found.(*rate.Limiter).Allow()
}

// Event implements record.EventRecorder.
func (d *damped) Event(obj runtime.Object, kind, reason, message string) {
	if d.hears(obj, reason) {
		d.of.Event(obj, kind, reason, message)
	}
}

// Eventf implements record.EventRecorder.
func (d *damped) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	if d.hears(obj, reason) {
		d.of.Event(obj, kind, reason, fmt.Sprintf(format, args...))
	}
}

// AnnotatedEventf implements record.EventRecorder.
func (d *damped) AnnotatedEventf(obj runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	if d.hears(obj, reason) {
		d.of.AnnotatedEventf(obj, annotations, kind, reason, format, args...)
	}
}
