package client

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// fieldMemory remembers the managed fields of pods and events that were created,
// because replicas of one template, and events of one source, differ in nothing
// that managed fields tell of, and computing them is a quarter of a creation.
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
	key, ok := shapeOf(e.Kind, in, manager)
	if ok {
		if entries := f.get(key); entries != nil {
			managed(in).SetManagedFields(entries)
			return in, nil
		}
	}
	live, err := e.Scheme.New(e.Kind)
	if err != nil {
		return nil, err
	}
	out := e.Fields.UpdateNoErrors(live, in, manager)
	if m := managed(out); ok && m != nil {
		f.put(key, m.GetManagedFields())
	}
	return out, nil
}

// managed is nil for what is not remembered.
func managed(obj runtime.Object) metav1.Object {
	switch o := obj.(type) {
	case *corev1.Pod:
		return o
	case *corev1.Event:
		return o
	}
	return nil
}

// shapeOf reports false for what is not remembered.
func shapeOf(kind schema.GroupVersionKind, in runtime.Object, manager string) (shape, bool) {
	m := managed(in)
	if m == nil || len(m.GetManagedFields()) > 0 {
		return shape{}, false
	}
	memory := runtime.AllocatorPool.Get().(*runtime.Allocator)
	defer runtime.AllocatorPool.Put(memory)
	whose := kind.String() + manager
	switch o := in.(type) {
	case *corev1.Pod:
		// Put back below: here a pod of one's own would be the dearest of all.
		identity := o.ObjectMeta
		withoutIdentity(&o.ObjectMeta)
		defer func() { o.ObjectMeta = identity }()
		return sum(o, whose, memory)
	case *corev1.Event:
		anonymous := eventShape(o)
		return sum(&anonymous, whose, memory)
	}
	return shape{}, false
}

// sum is the hash of an object and of a text behind it.
func sum(obj runtime.ProtobufReverseMarshaller, text string, memory *runtime.Allocator) (shape, bool) {
	size := obj.Size()
	data := memory.Allocate(uint64(size + len(text)))
	if _, err := obj.MarshalToSizedBuffer(data[:size]); err != nil {
		return shape{}, false
	}
	copy(data[size:], text)
	return sha256.Sum256(data), true
}

// withoutIdentity drops what is never managed, or differs between replicas in
// its value alone. Whether there is a generated name at all is told.
func withoutIdentity(m *metav1.ObjectMeta) {
	m.Name, m.Namespace, m.ResourceVersion, m.UID = "", "", "", ""
}

// eventShape is an event with one value in the place of all others: which of its
// fields are there decides, for it has neither maps nor lists of its own.
func eventShape(e *corev1.Event) corev1.Event {
	out := *e
	withoutIdentity(&out.ObjectMeta)
	about(&out.InvolvedObject)
	if e.Related != nil {
		related := *e.Related
		about(&related)
		out.Related = &related
	}
	for _, text := range []*string{&out.Reason, &out.Message, &out.Source.Component, &out.Source.Host,
		&out.Type, &out.Action, &out.ReportingController, &out.ReportingInstance} {
		present(text)
	}
	if out.Count != 0 {
		out.Count = 1
	}
	one := time.Unix(1, 0)
	for _, at := range []*metav1.Time{&out.FirstTimestamp, &out.LastTimestamp} {
		if !at.IsZero() {
			*at = metav1.NewTime(one)
		}
	}
	if !out.EventTime.IsZero() {
		out.EventTime = metav1.NewMicroTime(one)
	}
	if out.Series != nil {
		out.Series = &corev1.EventSeries{Count: min(out.Series.Count, 1), LastObservedTime: metav1.NewMicroTime(one)}
	}
	return out
}

func about(ref *corev1.ObjectReference) {
	uid := string(ref.UID)
	present(&uid)
	ref.UID = types.UID(uid)
	for _, text := range []*string{&ref.Kind, &ref.Namespace, &ref.Name, &ref.APIVersion, &ref.ResourceVersion, &ref.FieldPath} {
		present(text)
	}
}

func present(text *string) {
	if *text != "" {
		*text = "x"
	}
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
