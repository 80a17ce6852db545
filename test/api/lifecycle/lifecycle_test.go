package lifecycle

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// patience bounds what a watch is waited for.
const patience = time.Minute

// kind is one kind with an object of it.
type kind struct {
	resource string // group/version/resource, or version/resource
	object   string // YAML, without a name; it is namespaced if it names a namespace
	patch    string // a merge patch of what may change, in YAML; labels always may
	status   string // a merge patch of the status, in YAML
	lasting  bool   // deletion waits for somebody else
}

func (k kind) gvr() schema.GroupVersionResource {
	parts := strings.Split(k.resource, "/")
	if len(parts) == 2 {
		return schema.GroupVersionResource{Version: parts[0], Resource: parts[1]}
	}
	return schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}
}

func TestLifecycle(t *testing.T) {
	server := apitest.Start(t)
	server.Config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	// Parallel subtests run when this function has returned.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	server.Account(ctx, "default")
	for _, k := range kinds {
		t.Run(k.resource, func(t *testing.T) {
			t.Parallel()
			run(ctx, t, client, k)
		})
	}
}

// one is the object under test.
type one struct {
	*testing.T
	ctx    context.Context
	kind   kind
	client dynamic.ResourceInterface
	all    dynamic.NamespaceableResourceInterface
	label  string
}

func run(ctx context.Context, t *testing.T, client dynamic.Interface, k kind) {
	gvr := k.gvr()
	o := &one{T: t, ctx: ctx, kind: k, all: client.Resource(gvr), label: "lifecycle=" + gvr.Resource}
	o.client = o.all
	if ns := o.fresh("x").GetNamespace(); ns != "" {
		o.client = o.all.Namespace(ns)
	}
	watcher, err := o.all.Watch(ctx, metav1.ListOptions{LabelSelector: o.label})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	made, err := o.client.Create(ctx, o.fresh(gvr.Resource+"-1"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.sees(watcher, watch.Added)
	if _, err := o.client.Create(ctx, o.fresh(gvr.Resource+"-1"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("made twice: %v", err)
	}
	got, err := o.client.Get(ctx, made.GetName(), metav1.GetOptions{})
	if err != nil || got.GetUID() != made.GetUID() {
		t.Errorf("got %v, %v", got, err)
	}
	for where, list := range map[string]func(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error){
		"its namespace": o.client.List, "all namespaces": o.all.List,
	} {
		if all, err := list(ctx, metav1.ListOptions{LabelSelector: o.label}); err != nil || len(all.Items) != 1 {
			t.Errorf("list of %s: %v, %v", where, all, err)
		}
	}
	o.change(made.GetName(), watcher)
	o.writeStatus(made.GetName())
	o.remove(made.GetName(), watcher)
	o.removeAll()
}

// fresh is a new object of the kind.
func (o *one) fresh(name string) *unstructured.Unstructured {
	o.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(os.Expand(o.kind.object, func(key string) string {
		if key == "NAME" {
			return name
		}
		return "$" + key
	})), &u.Object); err != nil {
		o.Fatal(err)
	}
	if u.GetName() == "" {
		u.SetName(name)
	}
	key, value, _ := strings.Cut(o.label, "=")
	u.SetLabels(map[string]string{key: value})
	return u
}

// change patches an object and replaces it.
func (o *one) change(name string, watcher watch.Interface) {
	o.Helper()
	patch := o.json(o.kind.patch)
	metadata, _ := patch["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["annotations"] = map[string]any{"patched": "yes"}
	patch["metadata"] = metadata
	body, err := json.Marshal(patch)
	if err != nil {
		o.Fatal(err)
	}
	patched, err := o.client.Patch(o.ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		o.Fatalf("patch: %v", err)
	}
	if patched.GetAnnotations()["patched"] != "yes" {
		o.Errorf("annotations are %v", patched.GetAnnotations())
	}
	o.contains("patch", patched.Object, patch)
	o.sees(watcher, watch.Modified)

	stale := patched.DeepCopy()
	stale.SetResourceVersion("1")
	if _, err := o.client.Update(o.ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		o.Errorf("replaced by what was read long ago: %v", err)
	}
	// Others may have written meanwhile, as controllers of the server do.
	for {
		current, err := o.client.Get(o.ctx, name, metav1.GetOptions{})
		if err != nil {
			o.Fatal(err)
		}
		annotations := current.GetAnnotations()
		annotations["replaced"] = "yes"
		current.SetAnnotations(annotations)
		replaced, err := o.client.Update(o.ctx, current, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil || replaced.GetAnnotations()["replaced"] != "yes" {
			o.Errorf("replace: %v", err)
		}
		return
	}
}

// writeStatus patches the status, and checks that the rest stays.
func (o *one) writeStatus(name string) {
	o.Helper()
	if o.kind.status == "" {
		return
	}
	status := map[string]any{"status": any(o.json(o.kind.status))}
	body, err := json.Marshal(map[string]any{"status": status["status"], "metadata": map[string]any{"annotations": map[string]any{"by": "status"}}})
	if err != nil {
		o.Fatal(err)
	}
	written, err := o.client.Patch(o.ctx, name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		o.Errorf("patch status: %v", err)
		return
	}
	o.contains("status", written.Object, status)
	read, err := o.client.Get(o.ctx, name, metav1.GetOptions{}, "status")
	if err != nil {
		o.Errorf("read status: %v", err)
		return
	}
	o.contains("status read", read.Object, status)
	if _, err := o.client.UpdateStatus(o.ctx, read, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		o.Errorf("replace status: %v", err)
	}
	// A write of the object itself leaves the status alone.
	plain, err := json.Marshal(map[string]any{"status": nil})
	if err != nil {
		o.Fatal(err)
	}
	kept, err := o.client.Patch(o.ctx, name, types.MergePatchType, plain, metav1.PatchOptions{})
	if err != nil {
		o.Errorf("patch without status: %v", err)
		return
	}
	o.contains("status kept", kept.Object, status)
}

func (o *one) remove(name string, watcher watch.Interface) {
	o.Helper()
	now := int64(0)
	if err := o.client.Delete(o.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		o.Fatalf("delete: %v", err)
	}
	if o.kind.lasting {
		o.release(name)
	}
	o.sees(watcher, watch.Deleted)
	if _, err := o.client.Get(o.ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		o.Errorf("it is still there: %v", err)
	}
}

// release takes the finalizers off, as those who set them would.
func (o *one) release(name string) {
	o.Helper()
	for _, finalizers := range []string{`{"metadata":{"finalizers":null}}`, `{"spec":{"finalizers":null}}`} {
		_, err := o.client.Patch(o.ctx, name, types.MergePatchType, []byte(finalizers), metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) && !apierrors.IsConflict(err) {
			o.Fatalf("release: %v", err)
		}
	}
}

func (o *one) removeAll() {
	o.Helper()
	if strings.Contains(o.kind.object, "name: kept") {
		return
	}
	for _, name := range []string{"2", "3"} {
		if _, err := o.client.Create(o.ctx, o.fresh(o.kind.gvr().Resource+"-"+name), metav1.CreateOptions{}); err != nil {
			o.Fatal(err)
		}
	}
	now := int64(0)
	if err := o.client.DeleteCollection(o.ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: o.label}); err != nil {
		o.Fatalf("delete all: %v", err)
	}
	if o.kind.lasting {
		o.release(o.kind.gvr().Resource + "-2")
		o.release(o.kind.gvr().Resource + "-3")
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left, err := o.client.List(o.ctx, metav1.ListOptions{LabelSelector: o.label})
		if err == nil && len(left.Items) == 0 {
			return
		}
		if time.Now().After(end) {
			o.Fatalf("left: %v, %v", left, err)
		}
	}
}

// sees waits for an event of a type.
func (o *one) sees(watcher watch.Interface, event watch.EventType) {
	o.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case e, open := <-watcher.ResultChan():
			if !open {
				o.Fatalf("the watch ended before %s", event)
			}
			if e.Type == event {
				return
			}
		case <-late.C:
			o.Fatalf("%s was not seen", event)
		}
	}
}

func (o *one) json(text string) map[string]any {
	o.Helper()
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		o.Fatal(err)
	}
	return out
}

// contains checks that an object has all that a patch set.
func (o *one) contains(what string, have, want any) {
	o.Helper()
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		for key, value := range w {
			o.contains(what+"."+key, h[key], value)
		}
	case []any:
		h, _ := have.([]any)
		if len(h) < len(w) {
			o.Errorf("%s is %v, want %v", what, have, want)
			return
		}
		for i := range w {
			o.contains(what, h[i], w[i])
		}
	default:
		a, errA := json.Marshal(have)
		b, errB := json.Marshal(want)
		if errA != nil || errB != nil || string(a) != string(b) {
			o.Errorf("%s is %s, want %s", what, a, b)
		}
	}
}
