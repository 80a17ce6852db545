package backend

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Triggers finds out since when a service's addresses are out of date: proxies
// tell by that how long a change took to reach them. Its zero value is ready.
type Triggers struct {
	mu   sync.Mutex // guards the fields below
	seen map[types.NamespacedName]state
}

// state is what a service and its pods were at the last look.
type state struct {
	created time.Time
	ready   map[string]time.Time // when the pods' readiness changed, by pod
}

// Since is the earliest change that was not seen before; zero is that there was
// none that can be told. A service that is new is out of date since it was made.
func (t *Triggers) Since(service *corev1.Service, pods []*corev1.Pod) time.Time {
	next := state{created: service.CreationTimestamp.Time, ready: make(map[string]time.Time, len(pods))}
	key := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[types.NamespacedName]state{}
	}
	last, known := t.seen[key]
	t.seen[key] = next
	var first time.Time
	earlier := func(at, before time.Time) {
		if at.After(before) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for _, pod := range pods {
		if c := workload.Condition(pod, corev1.PodReady); c != nil && !c.LastTransitionTime.IsZero() {
			next.ready[pod.Name] = c.LastTransitionTime.Time
			earlier(c.LastTransitionTime.Time, last.ready[pod.Name])
		}
	}
	earlier(next.created, last.created)
	if !known {
		return next.created
	}
	return first
}

// Forget drops what is known of a service that is gone.
func (t *Triggers) Forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, key)
}

// Stamp writes the time on an object that is about to be written.
func Stamp(meta *metav1.ObjectMeta, since time.Time) {
	if since.IsZero() {
		delete(meta.Annotations, corev1.EndpointsLastChangeTriggerTime)
		return
	}
	metav1.SetMetaDataAnnotation(meta, corev1.EndpointsLastChangeTriggerTime, since.UTC().Format(time.RFC3339Nano))
}
