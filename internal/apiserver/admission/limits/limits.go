// Package limits enforces limit ranges: containers that say nothing get the
// defaults of their namespace, and what asks for too little or too much is
// refused.
package limits

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/lru"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// annotation tells the user which numbers are not his own.
const annotation = "kubernetes.io/limit-ranger"

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source lookup.Source
	empty  *lru.Cache // namespace → time.Time at which the store had no limit range in it
	now    func() time.Time
}

const (
	// believed is how long a namespace counts as one without limit ranges while
	// the cache knows of none; mostEmpty is how many are remembered. Both are
	// upstream's.
	believed  = 30 * time.Second
	mostEmpty = 10_000
)

// New returns the plugin.
func New(source lookup.Source) *Plugin {
	return &Plugin{
		Handler: admission.NewHandler(admission.Create, admission.Update), source: source,
		empty: lru.New(mostEmpty), now: time.Now,
	}
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || !limited(a) || a.GetOperation() != admission.Create {
		return nil
	}
	ranges, err := p.ranges(ctx, a)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		fill(pod, r)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !limited(a) {
		return nil
	}
	ranges, err := p.ranges(ctx, a)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if errs := Check(a.GetObject(), r); len(errs) > 0 {
			return admission.NewForbidden(a, utilerrors.NewAggregate(errs))
		}
	}
	return nil
}

// ranges are the limit ranges of the request's namespace. Where the cache has none
// the store is asked: a limit range and the first pod are often created together,
// and the pod must not slip through. That none is there is believed for a while, as
// upstream does, or every pod would pay for the question.
func (p *Plugin) ranges(ctx context.Context, a admission.Attributes) ([]*corev1.LimitRange, error) {
	resource, namespace := lookup.Core("limitranges"), a.GetNamespace()
	ranges, err := lookup.ListFew[*corev1.LimitRange](ctx, p.source, resource, namespace)
	if err == nil && len(ranges) == 0 && !p.knownEmpty(namespace) {
		ranges, err = lookup.ListPresent[*corev1.LimitRange](ctx, p.source, resource, namespace)
		if err == nil && len(ranges) == 0 {
			p.empty.Add(namespace, p.now())
		}
	}
	if err != nil {
		return nil, admission.NewForbidden(a, err)
	}
	slices.SortFunc(ranges, func(a, b *corev1.LimitRange) int { return strings.Compare(a.Name, b.Name) })
	return ranges, nil
}

func (p *Plugin) knownEmpty(namespace string) bool {
	at, ok := p.empty.Get(namespace)
	return ok && p.now().Sub(at.(time.Time)) < believed
}

// limited says whether limit ranges have a say in a request: in new pods and
// claims, in claims that change, and in pods that are resized.
func limited(a admission.Attributes) bool {
	var ok bool
	switch a.GetResource().GroupResource() {
	case lookup.Core("pods"):
		ok = a.GetSubresource() == "" && a.GetOperation() == admission.Create || a.GetSubresource() == "resize"
	case lookup.Core("persistentvolumeclaims"):
		ok = a.GetSubresource() == ""
	}
	return ok && !(a.GetOperation() == admission.Update && leaving(a.GetObject()))
}

// leaving objects must get rid of their finalizers whatever they ask for.
func leaving(obj runtime.Object) bool {
	m, err := meta.Accessor(obj)
	return err == nil && m.GetDeletionTimestamp() != nil
}

// fill gives the containers of pod what they do not say themselves.
func fill(pod *corev1.Pod, r *corev1.LimitRange) {
	limits, requests := defaults(r)
	if len(limits) == 0 && len(requests) == 0 {
		return
	}
	var notes []string
	for i := range pod.Spec.Containers {
		notes = append(notes, fillContainer(&pod.Spec.Containers[i], "container", limits, requests)...)
	}
	for i := range pod.Spec.InitContainers {
		notes = append(notes, fillContainer(&pod.Spec.InitContainers[i], "init container", limits, requests)...)
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[annotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

func defaults(r *corev1.LimitRange) (limits, requests corev1.ResourceList) {
	limits, requests = corev1.ResourceList{}, corev1.ResourceList{}
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for k, q := range item.DefaultRequest {
			requests[k] = q.DeepCopy()
		}
		for k, q := range item.Default {
			limits[k] = q.DeepCopy()
		}
	}
	return limits, requests
}

func fillContainer(c *corev1.Container, kind string, limits, requests corev1.ResourceList) []string {
	var notes []string
	for _, f := range []struct {
		have *corev1.ResourceList
		from corev1.ResourceList
		word string
	}{{&c.Resources.Requests, requests, "request"}, {&c.Resources.Limits, limits, "limit"}} {
		var set []string
		for k, q := range f.from {
			if _, ok := (*f.have)[k]; ok {
				continue
			}
			if *f.have == nil {
				*f.have = corev1.ResourceList{}
			}
			(*f.have)[k] = q.DeepCopy()
			set = append(set, string(k))
		}
		if len(set) > 0 {
			slices.Sort(set)
			notes = append(notes, strings.Join(set, ", ")+" "+f.word+" for "+kind+" "+c.Name)
		}
	}
	return notes
}
