package content

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// entry is one object and the pods that refer to it.
type entry struct {
	key  key
	pods map[types.UID]struct{} // guarded by Store.mu
	turn chan struct{}          // held by who reads the object for the first time

	mu     sync.Mutex // guards the fields below
	known  bool
	object metav1.Object // nil with known: there is no such object
	// told: a reader had an answer, and wants to hear of another.
	told bool
	// done: no pod refers to the object any more. stop ends its watch.
	done bool
	stop context.CancelFunc
}

func newEntry(k key) *entry {
	return &entry{key: k, pods: map[types.UID]struct{}{}, turn: make(chan struct{}, 1)}
}

// begin takes what ends the watch that begins; false says that nobody needs it.
func (e *entry) begin(stop context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop = stop
	return !e.done
}

func (e *entry) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = true
	if e.stop != nil {
		e.stop()
	}
}

// first answers what is known, or reads it; of several readers one does.
func (e *entry) first(ctx context.Context, read func() (metav1.Object, error)) (metav1.Object, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e.mu.Lock()
	known, object := e.known, e.object
	e.told = true
	e.mu.Unlock()
	if !known {
		var err error
		if object, err = read(); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		e.mu.Lock()
		// The watch may have brought something newer meanwhile.
		if e.known {
			object = e.object
		} else {
			e.known, e.object = true, object
		}
		e.mu.Unlock()
	}
	if object == nil {
		return nil, notFound(e.key)
	}
	return object, nil
}

// notFound is worded as the kubelet words it; the API says "configmaps".
func notFound(k key) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: strings.ToLower(string(k.kind))}, k.name)
}

// set takes over what the API says now, nil for nothing. It answers whether a
// pod that has read the object should read it again.
func (e *entry) set(object metav1.Object) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	had := e.object
	if object != nil && had != nil && older(object, had) {
		return false
	}
	known := e.known
	e.known, e.object = true, object
	return e.told && object != nil && !(known && equal(had, object))
}

// version is where a watch goes on: after what is known.
func (e *entry) version() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.object == nil {
		return "0"
	}
	return e.object.GetResourceVersion()
}

func (e *entry) immutable() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch object := e.object.(type) {
	case *corev1.ConfigMap:
		return object.Immutable != nil && *object.Immutable
	case *corev1.Secret:
		return object.Immutable != nil && *object.Immutable
	}
	return false
}

// older says whether a is a state before b: a cache behind the API may show the
// past for a moment. Versions count through all objects, so that it does not
// matter whether one was deleted and made anew.
func older(a, b metav1.Object) bool {
	x, errX := strconv.ParseUint(a.GetResourceVersion(), 10, 64)
	y, errY := strconv.ParseUint(b.GetResourceVersion(), 10, 64)
	return errX == nil && errY == nil && x < y
}

func equal(a, b metav1.Object) bool {
	same := func(x, y []byte) bool { return string(x) == string(y) }
	switch a := a.(type) {
	case *corev1.ConfigMap:
		b, ok := b.(*corev1.ConfigMap)
		return ok && maps.Equal(a.Data, b.Data) && maps.EqualFunc(a.BinaryData, b.BinaryData, same)
	case *corev1.Secret:
		b, ok := b.(*corev1.Secret)
		return ok && maps.EqualFunc(a.Data, b.Data, same)
	}
	return false
}
