package client

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/store/feed"
)

// kind holds the objects of one kind as they are now, and tells handlers of
// changes. The objects are shared with the API server.
type kind struct {
	gvk    schema.GroupVersionKind
	gr     schema.GroupResource
	log    *feed.Log
	synced chan struct{} // closed when objects is complete for the first time

	mu       sync.RWMutex // guards the fields below
	objects  map[client.ObjectKey]client.Object
	spaces   index // by namespace
	indexes  map[string]index
	handlers map[*registration]struct{}
	running  context.Context // nil until run
	work     *sync.WaitGroup // of the handlers' goroutines
	guard    *guard          // nil unless objects are guarded
}

// index finds objects by a value.
type index struct {
	values func(client.Object) []string
	sets   map[string]map[client.Object]struct{}
}

func newIndex(values func(client.Object) []string) index {
	return index{values: values, sets: map[string]map[client.Object]struct{}{}}
}

func newKind(gvk schema.GroupVersionKind, gr schema.GroupResource, log *feed.Log, guarded bool) *kind {
	k := &kind{
		gvk: gvk, gr: gr, log: log, synced: make(chan struct{}),
		objects:  map[client.ObjectKey]client.Object{},
		spaces:   newIndex(func(obj client.Object) []string { return []string{obj.GetNamespace()} }),
		indexes:  map[string]index{},
		handlers: map[*registration]struct{}{},
		work:     &sync.WaitGroup{},
	}
	if guarded {
		k.guard = newGuard(gvk)
	}
	return k
}

func sameType(a, b runtime.Object) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }

// run follows the feed until ctx ends, then waits for the handlers.
func (k *kind) run(ctx context.Context) {
	k.mu.Lock()
	k.running = ctx
	for r := range k.handlers {
		k.work.Go(func() { r.run(ctx) })
	}
	k.mu.Unlock()
	// It only ends with the context: apply never fails.
	_ = k.log.Follow(ctx, k.apply)
	k.work.Wait()
	k.guard.checkAll()
}

func (k *kind) wait(ctx context.Context) error {
	select {
	case <-k.synced:
		return nil
	default:
	}
	select {
	case <-k.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the cache of %s: %w", k.gvk.Kind, context.Cause(ctx))
	}
}

// apply takes in one change of the feed.
func (k *kind) apply(c feed.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Type == feed.Replaced {
		k.replace(c.Objects)
		return nil
	}
	obj, ok := c.Object.(client.Object)
	if !ok {
		return nil // not of a kind that has metadata: nobody asks for it
	}
	if c.Type == feed.Deleted {
		k.remove(obj)
		return nil
	}
	k.set(obj, false)
	return nil
}

// replace makes the objects those of state. The caller holds mu.
func (k *kind) replace(state map[string]runtime.Object) {
	initial := false
	select {
	case <-k.synced:
	default:
		initial = true
	}
	keep := make(map[client.ObjectKey]bool, len(state))
	for _, o := range state {
		obj, ok := o.(client.Object)
		if !ok {
			continue
		}
		keep[client.ObjectKeyFromObject(obj)] = true
		k.set(obj, initial)
	}
	for key, obj := range k.objects {
		if !keep[key] {
			k.remove(obj)
		}
	}
	if initial {
		close(k.synced)
		for r := range k.handlers {
			r.mail.Put(delivery{complete: true})
		}
	}
}

// set adds an object or its new state. The caller holds mu.
func (k *kind) set(obj client.Object, initial bool) {
	key := client.ObjectKeyFromObject(obj)
	old := k.objects[key]
	if old != nil && old.GetResourceVersion() == obj.GetResourceVersion() && old.GetUID() == obj.GetUID() {
		return // told before
	}
	k.objects[key] = obj
	k.spaces.change(old, obj)
	for _, ix := range k.indexes {
		ix.change(old, obj)
	}
	k.guard.change(old, obj)
	for r := range k.handlers {
		r.mail.Put(delivery{old: old, obj: obj, initial: initial})
	}
}

// remove forgets an object, whose last state is given. The caller holds mu.
func (k *kind) remove(last client.Object) {
	key := client.ObjectKeyFromObject(last)
	old := k.objects[key]
	if old == nil {
		return
	}
	delete(k.objects, key)
	k.spaces.change(old, nil)
	for _, ix := range k.indexes {
		ix.change(old, nil)
	}
	k.guard.change(old, nil)
	for r := range k.handlers {
		r.mail.Put(delivery{old: last})
	}
}

func (ix index) change(old, obj client.Object) {
	if old != nil {
		for _, v := range ix.values(old) {
			delete(ix.sets[v], old)
			if len(ix.sets[v]) == 0 && (obj == nil || !slices.Contains(ix.values(obj), v)) {
				delete(ix.sets, v)
			}
		}
	}
	if obj == nil {
		return
	}
	for _, v := range ix.values(obj) {
		set := ix.sets[v]
		if set == nil {
			set = map[client.Object]struct{}{}
			ix.sets[v] = set
		}
		set[obj] = struct{}{}
	}
}

func (k *kind) get(key client.ObjectKey, out client.Object, copied bool) error {
	k.mu.RLock()
	obj := k.objects[key]
	if obj == nil {
		// Cluster-scoped objects are found whatever namespace is asked for.
		obj = k.objects[client.ObjectKey{Name: key.Name}]
	}
	k.mu.RUnlock()
	if obj == nil {
		return apierrors.NewNotFound(k.gr, key.Name)
	}
	if copied {
		obj = obj.DeepCopyObject().(client.Object)
		obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(obj).Elem())
	return nil
}

func (k *kind) list(out client.ObjectList, o *client.ListOptions) error {
	if o.Continue != "" {
		return fmt.Errorf("list %s: the cache gives all at once, it cannot continue", k.gr)
	}
	found, err := k.selected(o)
	if err != nil {
		return err
	}
	copied := o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy
	items := reflect.ValueOf(out).Elem().FieldByName("Items")
	all := reflect.MakeSlice(items.Type(), len(found), len(found))
	for i, obj := range found {
		if copied {
			obj = obj.DeepCopyObject().(client.Object)
			obj.GetObjectKind().SetGroupVersionKind(k.gvk)
		}
		all.Index(i).Set(reflect.ValueOf(obj).Elem())
	}
	items.Set(all)
	return nil
}

// selected returns the objects that the options select.
func (k *kind) selected(o *client.ListOptions) ([]client.Object, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var found []client.Object
	take := func(obj client.Object) {
		full := o.Limit > 0 && int64(len(found)) >= o.Limit
		if !full && (o.LabelSelector == nil || o.LabelSelector.Matches(labelsOf(obj))) {
			found = append(found, obj)
		}
	}
	if o.FieldSelector != nil && !o.FieldSelector.Empty() {
		err := k.byFields(o.FieldSelector.Requirements(), func(obj client.Object) {
			if o.Namespace == "" || obj.GetNamespace() == o.Namespace {
				take(obj)
			}
		})
		return found, err
	}
	if o.Namespace != "" {
		for obj := range k.spaces.sets[o.Namespace] {
			take(obj)
		}
		return found, nil
	}
	for _, obj := range k.objects {
		take(obj)
	}
	return found, nil
}

// byFields calls f for the objects that have all these values. The caller holds
// mu.
func (k *kind) byFields(want fields.Requirements, f func(client.Object)) error {
	for _, r := range want {
		if r.Operator != selection.Equals && r.Operator != selection.DoubleEquals {
			return fmt.Errorf("list %s: the cache selects fields by equality only, not %s", k.gr, r.Operator)
		}
		if _, ok := k.indexes[r.Field]; !ok {
			return fmt.Errorf("list %s: the cache has no index over %s", k.gr, r.Field)
		}
	}
	for obj := range k.indexes[want[0].Field].sets[want[0].Value] {
		if !slices.ContainsFunc(want[1:], func(r fields.Requirement) bool {
			return !slices.Contains(k.indexes[r.Field].values(obj), r.Value)
		}) {
			f(obj)
		}
	}
	return nil
}

// index adds an index over what is there and what will come.
func (k *kind) index(field string, extract client.IndexerFunc) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, exists := k.indexes[field]; exists {
		return fmt.Errorf("index %s of %s: there is one already", field, k.gr)
	}
	ix := newIndex(func(obj client.Object) []string { return extract(obj) })
	for _, obj := range k.objects {
		ix.change(nil, obj)
	}
	k.indexes[field] = ix
	return nil
}
