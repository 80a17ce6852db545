// Package placing gives new pods their node in the write that stores them, where
// the scheduler of this process knows it at once. A rush of pods is then half as
// many writes and half as much for every watch.
//
// A scheduler elsewhere binds, as ever, and so does ours where a pod has to wait or
// somebody is to be asked about its binding or told of it.
package placing

import (
	"context"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/subresources"
)

// Placer says where pods will run that are about to be stored.
type Placer interface {
	// Place returns the node for a pod, or "" when it has to wait its turn. With a
	// node comes what has to be told once how it went: the pod as it was stored,
	// which is only read until told returns, or nil when it was not. The pod that is
	// asked about is Place's to keep and to read.
	Place(ctx context.Context, pod *corev1.Pod) (node string, told func(stored *corev1.Pod))
}

// Late is a Placer that comes when the server is there already. Until then pods wait to
// be bound. The zero value is ready for use.
type Late struct{ placer atomic.Pointer[Placer] }

// Set has p asked from now on.
func (l *Late) Set(p Placer) { l.placer.Store(&p) }

// Place implements Placer.
func (l *Late) Place(ctx context.Context, pod *corev1.Pod) (string, func(*corev1.Pod)) {
	if p := l.placer.Load(); p != nil {
		return (*p).Place(ctx, pod)
	}
	return "", nil
}

// Options of an extension.
type Options struct {
	Placer Placer // nil: pods are bound
	// Watched reports whether somebody is to be asked about a request or told of it.
	Watched func(admission.Attributes) bool
	// Bound does with a pod that has its node what else a binding would do.
	Bound func(ctx context.Context, pod admission.Attributes) error
}

// Extension asks about each new pod when all others have let it pass.
func Extension(o Options) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		store := h.Store("", "pods")
		if o.Placer == nil || store == nil {
			return plug.Additions{}, nil
		}
		store.BeginCreate = begin
		return plug.Additions{Endpoints: []plug.Endpoint{{
			GroupVersion: corev1.SchemeGroupVersion, Path: "pods", Storage: &pods{store, o},
		}}}, nil
	}
}

// pods is the store of pods.
type pods struct {
	*rows.Store
	options Options
}

// Create stores a pod, on its node if that is known by then.
func (p *pods) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	if dryrun.IsDryRun(options.DryRun) {
		return p.Store.Create(ctx, obj, validate, options)
	}
	c := &creation{options: p.options}
	out, err := p.Store.Create(context.WithValue(ctx, key{}, c), obj, func(ctx context.Context, checked runtime.Object) error {
		if validate != nil {
			if err := validate(ctx, checked); err != nil {
				return err
			}
		}
		c.place(ctx, checked)
		return nil
	}, options)
	if stored, ok := out.(*corev1.Pod); ok && err == nil {
		c.end(stored)
	}
	return out, err
}

// key is where the context of a request has its creation.
type key struct{}

// begin has the creation of a request know what will be stored: where a name is made
// up, and is taken, that is another object than the one that was to be created.
func begin(ctx context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
	c, ok := ctx.Value(key{}).(*creation)
	if !ok {
		return func(context.Context, bool) {}, nil
	}
	c.pod, _ = obj.(*corev1.Pod)
	return func(_ context.Context, done bool) {
		if !done {
			c.end(nil)
		}
	}, nil
}

// creation is a pod on its way into the store.
type creation struct {
	options Options
	pod     *corev1.Pod // as it will be stored
	told    func(*corev1.Pod)
}

// place puts the pod on its node. checked is what admission has seen of it, a copy.
func (c *creation) place(ctx context.Context, checked runtime.Object) {
	pod, ok := checked.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != "" || c.options.Watched(request(pod, &corev1.Binding{}, "Binding", "binding")) {
		return
	}
	node, told := c.options.Placer.Place(ctx, pod)
	if node == "" {
		return
	}
	c.told = told
	subresources.Assign(c.pod, node)
	if err := c.options.Bound(ctx, request(pod, c.pod, "Pod", "")); err != nil {
		c.end(nil) // its binding will tell why
	}
}

// end tells how it went. A pod whose name was taken may be tried again.
func (c *creation) end(stored *corev1.Pod) {
	if c.told == nil {
		return
	}
	c.told(stored)
	c.told = nil
	if stored == nil {
		c.pod.Spec.NodeName, c.pod.Status.Conditions = "", nil
	}
}

// request is one of the scheduler's about a pod.
func request(pod *corev1.Pod, sent runtime.Object, kind, subresource string) admission.Attributes {
	return admission.NewAttributesRecord(sent, nil, corev1.SchemeGroupVersion.WithKind(kind), pod.Namespace, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), subresource, admission.Create, &metav1.CreateOptions{}, false,
		&user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.AllAuthenticated}})
}
