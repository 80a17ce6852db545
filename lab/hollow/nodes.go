package hollow

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watchNodes follows all nodes until ctx ends.
func (f *Fleet) watchNodes(ctx context.Context) error {
	nodes := f.client.CoreV1().Nodes()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return nodes.Watch(ctx, o)
		},
	}
	cache.NewReflectorWithOptions(lw, &corev1.Node{}, sink(f.look), cache.ReflectorOptions{Name: "hollow nodes"}).RunWithContext(ctx)
	return nil
}

// look counts the nodes that are fit for pods, notes when somebody last wanted something
// else of one, and has a node that is taken for dead say that it is not, as a kubelet would with
// its next look at itself.
func (f *Fleet) look(obj any, deleted bool) {
	seen, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	n := f.byName[seen.Name]
	if n == nil {
		return
	}
	if fit := !deleted && len(seen.Spec.Taints) == 0 && seen.Spec.PodCIDR != ""; fit != n.fit {
		n.fit = fit
		f.fit.Add(map[bool]int64{true: 1, false: -1}[fit])
	}
	if wanted := fmt.Sprint(seen.Spec, seen.Annotations); wanted != n.wanted {
		n.wanted = wanted
		f.changed.Store(time.Now().UnixNano())
	}
	if deleted {
		return
	}
	dead := slices.ContainsFunc(seen.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue
	})
	n.dead.Store(dead)
	if dead {
		f.tell(n)
	}
}

// sink is told of what a reflector sees. It keeps nothing.
type sink func(obj any, deleted bool)

func (s sink) Add(obj any) error    { s(obj, false); return nil }
func (s sink) Update(obj any) error { s(obj, false); return nil }
func (s sink) Delete(obj any) error { s(obj, true); return nil }
func (s sink) Resync() error        { return nil }

// Replace comes after a list, at first and when a watch broke.
func (s sink) Replace(list []any, _ string) error {
	for _, obj := range list {
		s(obj, false)
	}
	return nil
}
