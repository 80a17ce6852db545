package client

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// guard notices when a shared object was changed: it keeps a copy of each and
// compares when the object goes, and at the end. A nil guard does nothing. Its
// callers hold the kind's lock.
type guard struct {
	kind   schema.GroupVersionKind
	copies map[client.Object]runtime.Object
}

func newGuard(kind schema.GroupVersionKind) *guard {
	return &guard{kind: kind, copies: map[client.Object]runtime.Object{}}
}

func (g *guard) change(old, obj client.Object) {
	if g == nil {
		return
	}
	if old != nil {
		g.check(old)
		delete(g.copies, old)
	}
	if obj != nil {
		g.copies[obj] = obj.DeepCopyObject()
	}
}

func (g *guard) check(obj client.Object) {
	before := g.copies[obj]
	now := obj.DeepCopyObject()
	// Encoders set and clear the type.
	now.GetObjectKind().SetGroupVersionKind(before.GetObjectKind().GroupVersionKind())
	if !equality.Semantic.DeepEqual(before, now) {
		panic(fmt.Sprintf("%s %s was changed in the cache, which shares it with the API server; was:\n%+v\nis:\n%+v",
			g.kind.Kind, client.ObjectKeyFromObject(obj), before, now))
	}
}

func (g *guard) checkAll() {
	if g == nil {
		return
	}
	for obj := range g.copies {
		g.check(obj)
	}
}
