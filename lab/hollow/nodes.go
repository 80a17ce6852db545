package hollow

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

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
