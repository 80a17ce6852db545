package usage

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// nodeStorage answers for nodes.
type nodeStorage struct {
	readOnly
	*collector
	nodes *rows.Store
}

// New returns an empty object.
func (*nodeStorage) New() runtime.Object { return &metrics.NodeMetrics{} }

// NewList returns an empty list.
func (*nodeStorage) NewList() runtime.Object { return &metrics.NodeMetricsList{} }

// Kind is the objects' kind.
func (*nodeStorage) Kind() string { return "NodeMetrics" }

// NamespaceScoped says where the objects are.
func (*nodeStorage) NamespaceScoped() bool { return false }

// Get measures one node.
func (s *nodeStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.nodes.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	list := s.measure(ctx, []*corev1.Node{obj.(*corev1.Node)})
	if len(list) == 0 {
		return nil, apierrors.NewNotFound(metrics.Resource("nodes"), name)
	}
	return &list[0], nil
}

// List measures the nodes that are selected.
func (s *nodeStorage) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	nodes, err := list[*corev1.Node](ctx, s.nodes, options)
	if err != nil {
		return nil, err
	}
	return &metrics.NodeMetricsList{Items: s.measure(ctx, nodes)}, nil
}

func (s *nodeStorage) measure(ctx context.Context, nodes []*corev1.Node) []metrics.NodeMetrics {
	names := make([]string, 0, len(nodes))
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	known := s.histories(ctx, names)
	out := []metrics.NodeMetrics{}
	for _, n := range nodes {
		m, ok := known[n.Name].node()
		if !ok {
			continue
		}
		out = append(out, metrics.NodeMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, CreationTimestamp: metav1.NewTime(s.now())},
			Timestamp:  metav1.NewTime(m.at),
			Window:     metav1.Duration{Duration: m.window.Round(time.Millisecond)},
			Usage:      used(m),
		})
	}
	slices.SortFunc(out, func(a, b metrics.NodeMetrics) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ConvertToTable prints the objects as metrics-server does.
func (*nodeStorage) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	return table(obj, func(m *metrics.NodeMetrics) row { return row{m.Name, m.Usage, m.Window} })
}

// podStorage answers for pods.
type podStorage struct {
	readOnly
	*collector
	pods *rows.Store
}

// New returns an empty object.
func (*podStorage) New() runtime.Object { return &metrics.PodMetrics{} }

// NewList returns an empty list.
func (*podStorage) NewList() runtime.Object { return &metrics.PodMetricsList{} }

// Kind is the objects' kind.
func (*podStorage) Kind() string { return "PodMetrics" }

// NamespaceScoped says where the objects are.
func (*podStorage) NamespaceScoped() bool { return true }

// Get measures one pod.
func (s *podStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	list := s.measure(ctx, []*corev1.Pod{obj.(*corev1.Pod)})
	if len(list) == 0 {
		return nil, apierrors.NewNotFound(metrics.Resource("pods"), request.NamespaceValue(ctx)+"/"+name)
	}
	return &list[0], nil
}

// List measures the pods that are selected. Only the nodes that run them are
// asked.
func (s *podStorage) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	pods, err := list[*corev1.Pod](ctx, s.pods, options)
	if err != nil {
		return nil, err
	}
	return &metrics.PodMetricsList{Items: s.measure(ctx, pods)}, nil
}

func (s *podStorage) measure(ctx context.Context, pods []*corev1.Pod) []metrics.PodMetrics {
	seen := map[string]bool{}
	var nodes []string
	for _, p := range pods {
		if running(p) && !seen[p.Spec.NodeName] {
			seen[p.Spec.NodeName] = true
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	known := s.histories(ctx, nodes)
	out := []metrics.PodMetrics{}
	for _, p := range pods {
		if !running(p) {
			continue
		}
		containers, ok := known[p.Spec.NodeName].pod(podKey{p.Namespace, p.Name})
		if ok {
			out = append(out, podMetrics(p, containers, s.now()))
		}
	}
	slices.SortFunc(out, func(a, b metrics.PodMetrics) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func running(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase == corev1.PodRunning
}

// podMetrics dates the pod by the container that was measured first.
func podMetrics(p *corev1.Pod, containers map[string]measure, now time.Time) metrics.PodMetrics {
	out := metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, CreationTimestamp: metav1.NewTime(now),
	}}
	for name, m := range containers {
		if out.Timestamp.IsZero() || m.at.Before(out.Timestamp.Time) {
			out.Timestamp = metav1.NewTime(m.at)
			out.Window = metav1.Duration{Duration: m.window.Round(time.Millisecond)}
		}
		out.Containers = append(out.Containers, metrics.ContainerMetrics{Name: name, Usage: used(m)})
	}
	slices.SortFunc(out.Containers, func(a, b metrics.ContainerMetrics) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ConvertToTable prints the objects as metrics-server does.
func (*podStorage) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	return table(obj, func(m *metrics.PodMetrics) row {
		sum := corev1.ResourceList{}
		for _, c := range m.Containers {
			for name, quantity := range c.Usage {
				total := sum[name]
				total.Add(quantity)
				sum[name] = total
			}
		}
		return row{m.Name, sum, m.Window}
	})
}

func used(m measure) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: processor(m.cores), corev1.ResourceMemory: memory(m.memory)}
}

// readOnly is what both storages share.
type readOnly struct{}

// Destroy does nothing: nothing is stored.
func (readOnly) Destroy() {}

// GetSingularName is none, so that "pod" means the pod and not its metrics.
func (readOnly) GetSingularName() string { return "" }

// list reads the watch cache: what is measured changes faster than it lags.
func list[T runtime.Object](ctx context.Context, from *rows.Store, asked *internalversion.ListOptions) ([]T, error) {
	options := &internalversion.ListOptions{ResourceVersion: "0"}
	if asked != nil {
		options.LabelSelector, options.FieldSelector = asked.LabelSelector, asked.FieldSelector
	}
	if options.FieldSelector == nil {
		options.FieldSelector = fields.Everything()
	}
	found, err := from.List(ctx, options)
	if err != nil {
		return nil, err
	}
	var out []T
	err = meta.EachListItem(found, func(obj runtime.Object) error {
		out = append(out, obj.(T))
		return nil
	})
	return out, err
}
