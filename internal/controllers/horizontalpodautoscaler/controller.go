package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/scale"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const (
	// every is how often an autoscaler is looked at; with very many of them it
	// is less often, so that looking takes a bounded share of time.
	every     = 3 * time.Second
	perHPA    = 30 * time.Millisecond
	slowest   = 15 * time.Second
	atWork    = 4
	repeating = 15 * time.Second // of what has not changed
)

// Controller reconciles HorizontalPodAutoscalers.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	metrics *metrics
	scales  scale.ScalesGetter
	mapper  meta.RESTMapper

	mu     sync.Mutex
	states map[loop.Key]*state // guarded by mu
}

// state is what is kept of one autoscaler. Only the worker that has its key
// touches it, but for the selector, which is guarded by the controller's mu.
type state struct {
	memory   memory
	selector labels.Selector
	told     []event // the last events, and when
	toldAt   time.Time
	wroteAt  time.Time
}

// New returns a controller that works with the given dependencies; config
// reaches the same API server, for metrics and scales of any kind, which d and
// mapper know.
func New(deps loop.Deps, config *rest.Config, d discovery.DiscoveryInterface, mapper meta.RESTMapper) (*Controller, error) {
	m, err := newMetrics(config, d, mapper)
	if err != nil {
		return nil, err
	}
	scales, err := scale.NewForConfig(config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(d))
	if err != nil {
		return nil, fmt.Errorf("build client of scales: %w", err)
	}
	c := &Controller{Deps: deps, metrics: m, scales: scales, mapper: mapper, states: map[loop.Key]*state{}}
	c.loop = loop.New("horizontalpodautoscaler", atWork, deps, c.reconcile)
	c.loop.WatchChanges(&autoscalingv2.HorizontalPodAutoscaler{}, func(before, after client.Object) []loop.Key {
		old, _ := before.(*autoscalingv2.HorizontalPodAutoscaler)
		next, _ := after.(*autoscalingv2.HorizontalPodAutoscaler)
		switch {
		case next == nil:
			return loop.Self(old)
		case old != nil && equality.Semantic.DeepEqual(old.Spec, next.Spec):
			return nil // its status is our own word
		}
		return loop.Self(next)
	})
	return c, nil
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := c.Cache.Get(ctx, key, hpa, client.UnsafeDisableDeepCopy); err != nil || hpa.DeletionTimestamp != nil {
		c.forget(key)
		return 0, client.IgnoreNotFound(err)
	}
	st, again := c.state(key)
	now := time.Now()
	out, target, err := c.look(ctx, hpa, st, now)
	if err != nil {
		return 0, err
	}
	if out.rescale {
		if err := c.rescale(ctx, hpa, &out, target, now); err != nil {
			return 0, err
		}
	}
	st.memory = out.memory
	c.tell(hpa, st, out.events, now)
	if out.err != nil {
		c.Log.Debug("metrics not usable", "hpa", key.String(), "err", out.err)
	}
	return again, c.write(ctx, hpa, st, out.status, now)
}

// target is what an autoscaler scales.
type target struct {
	resource schema.GroupResource
	scale    *autoscalingv1.Scale
}

// look reads what is needed and decides.
func (c *Controller) look(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, st *state, now time.Time) (outcome, *target, error) {
	found, err := c.target(ctx, hpa)
	if err != nil {
		return unreachable(hpa, st.memory, err, now), nil, nil
	}
	s := snapshot{hpa: hpa, scale: found.scale, memory: st.memory}
	if !byMetrics(hpa, found.scale) {
		return decide(s, now), found, nil
	}
	selector, err := labels.Parse(found.scale.Status.Selector)
	if s.selectorError = err; err == nil && !selector.Empty() {
		var list corev1.PodList
		err := c.Cache.List(ctx, &list, client.InNamespace(hpa.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return outcome{}, nil, fmt.Errorf("list pods: %w", err)
		}
		for i := range list.Items {
			s.pods = append(s.pods, &list.Items[i])
		}
		s.rivals = c.rivals(hpa, st, selector, s.pods)
		if len(s.rivals) <= 1 {
			s.readings = c.metrics.read(ctx, hpa, selector)
		}
	}
	return decide(s, now), found, nil
}

// target finds the scale that the autoscaler names, by whatever version of the
// kind has one.
func (c *Controller) target(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) (*target, error) {
	ref := hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	mappings, err := c.mapper.RESTMappings(schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
	if err != nil {
		return nil, err
	}
	first := errors.New("unrecognized resource")
	for i, m := range mappings {
		resource := m.Resource.GroupResource()
		found, err := c.scales.Scales(hpa.Namespace).Get(ctx, resource, ref.Name, metav1.GetOptions{})
		if err == nil {
			return &target{resource, found}, nil
		}
		if i == 0 {
			first = err
		}
	}
	return nil, first
}

// rescale gives the target its new size and notes what came of it. Only that
// the target was changed meanwhile is an error: then all is looked at again.
func (c *Controller) rescale(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, out *outcome, t *target, now time.Time) error {
	want := t.scale.DeepCopy()
	want.Spec.Replicas = out.replicas
	_, err := c.scales.Scales(hpa.Namespace).Update(ctx, t.resource, want, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err):
		return err
	case err != nil:
		out.unscaled(err, now)
		return nil
	}
	out.scaled(hpa, now)
	c.Log.Info("rescaled", "hpa", hpa.Namespace+"/"+hpa.Name, "from", out.status.CurrentReplicas, "to", out.replicas, "reason", out.reason)
	return nil
}

// rivals are the autoscalers that select some of the pods, this one included.
func (c *Controller) rivals(hpa *autoscalingv2.HorizontalPodAutoscaler, st *state, selector labels.Selector, pods []*corev1.Pod) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	st.selector = selector
	var names []string
	for key, other := range c.states {
		if key.Namespace != hpa.Namespace || other.selector == nil {
			continue
		}
		if slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return other.selector.Matches(labels.Set(p.Labels)) }) {
			names = append(names, key.String())
		}
	}
	slices.Sort(names)
	return names
}

// state is that of the key, and how soon it is its turn again.
func (c *Controller) state(key loop.Key) (*state, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.states[key]
	if st == nil {
		st = &state{}
		c.states[key] = st
	}
	return st, min(max(every, time.Duration(len(c.states))*perHPA), slowest)
}

func (c *Controller) forget(key loop.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.states, key)
}

// tell tells users what happened; what goes on and on only every so often.
func (c *Controller) tell(hpa *autoscalingv2.HorizontalPodAutoscaler, st *state, events []event, now time.Time) {
	if slices.Equal(st.told, events) && now.Sub(st.toldAt) < repeating {
		return
	}
	st.told, st.toldAt = events, now
	for _, e := range events {
		c.Events.Event(hpa, e.kind, e.reason, e.message)
	}
}

// write writes the status; while only the values of metrics change, not each
// time.
func (c *Controller) write(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, st *state, status autoscalingv2.HorizontalPodAutoscalerStatus, now time.Time) error {
	if equality.Semantic.DeepEqual(hpa.Status, status) {
		return nil
	}
	plain, before := status, hpa.Status
	plain.CurrentMetrics, before.CurrentMetrics = nil, nil
	if equality.Semantic.DeepEqual(plain, before) && now.Sub(st.wroteAt) < repeating {
		return nil
	}
	changed := hpa.DeepCopy()
	changed.Status = status
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of autoscaler: %w", err))
	}
	st.wroteAt = now
	return nil
}
