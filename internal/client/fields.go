package client

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// fieldMemory remembers the managed fields of pods that were created, because
// replicas of one template differ in nothing that managed fields tell of, and
// computing them is a quarter of a creation.
type fieldMemory struct {
	mu    sync.Mutex
	known map[shape][]metav1.ManagedFieldsEntry // guarded by mu
	order []shape                               // guarded by mu; oldest first
}

// shape is a hash over manager and object without its identity.
type shape [sha256.Size]byte

const mostShapes = 256

func newFieldMemory() *fieldMemory {
	return &fieldMemory{known: map[shape][]metav1.ManagedFieldsEntry{}}
}

// created returns in with the managed fields of an object that manager creates.
func (f *fieldMemory) created(e *Endpoint, in runtime.Object, manager string) (runtime.Object, error) {
	key, ok := shapeOf(in, manager)
	if ok {
		if entries := f.get(key); entries != nil {
			in.(*corev1.Pod).ManagedFields = entries
			return in, nil
		}
	}
	live, err := e.Scheme.New(e.Kind)
	if err != nil {
		return nil, err
	}
	out := e.Fields.UpdateNoErrors(live, in, manager)
	if pod, isPod := out.(*corev1.Pod); ok && isPod {
		f.put(key, pod.ManagedFields)
	}
	return out, nil
}

// shapeOf reports false for what is not remembered.
func shapeOf(in runtime.Object, manager string) (shape, bool) {
	pod, ok := in.(*corev1.Pod)
	if !ok || len(pod.ManagedFields) > 0 {
		return shape{}, false
	}
	anonymous := *pod
	// What is never managed, or differs between replicas in its value alone.
	// Whether there is a generated name at all is told.
	anonymous.Name, anonymous.Namespace, anonymous.ResourceVersion, anonymous.UID = "", "", "", ""
	data, err := anonymous.Marshal()
	if err != nil {
		return shape{}, false
	}
	return sha256.Sum256(append(data, manager...)), true
}

func (f *fieldMemory) get(key shape) []metav1.ManagedFieldsEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := f.known[key]
	if entries == nil {
		return nil
	}
	// Whoever owns the object may change its entries, but nobody changes the
	// bytes of FieldsV1 in place.
	out := slices.Clone(entries)
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	for i := range out {
		out[i].Time = &now
	}
	return out
}

func (f *fieldMemory) put(key shape, entries []metav1.ManagedFieldsEntry) {
	if len(entries) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.known[key]; known {
		return
	}
	if len(f.order) >= mostShapes {
		delete(f.known, f.order[0])
		f.order = slices.Delete(f.order, 0, 1)
	}
	f.order = append(f.order, key)
	f.known[key] = slices.Clone(entries)
}
