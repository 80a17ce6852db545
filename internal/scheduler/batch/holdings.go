package batch

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
)

// Leaving are the pods of queues that are being deleted.
func (b *Batch) Leaving() (out []*corev1.Pod) {
	for _, m := range b.members {
		if m.Placed && m.Unit.Queue != "" && m.Pod.DeletionTimestamp != nil {
			out = append(out, m.Pod)
		}
	}
	return out
}

// Holdings are what the queues use, each gang as a whole, and the pods of each.
func (b *Batch) Holdings(protected func(*corev1.Pod) bool) ([]fair.Holding, [][]*corev1.Pod) {
	units := slices.SortedFunc(maps.Values(b.units), func(a, b *Unit) int { return cmp.Compare(a.sequence, b.sequence) })
	var out []fair.Holding
	var pods [][]*corev1.Pod
	for _, u := range units {
		if u.Queue == "" || u.placed == 0 {
			continue
		}
		h := fair.Holding{Queue: u.Queue, Amounts: fair.Amounts{}, Priority: u.Priority(), Sequence: u.sequence}
		var its []*corev1.Pod
		for _, m := range u.members {
			if m.Placed && m.Pod.DeletionTimestamp == nil {
				h.Amounts.Add(m.Amounts, 1)
				its = append(its, m.Pod)
				h.Protected = h.Protected || protected(m.Pod)
			}
		}
		if len(its) > 0 {
			out, pods = append(out, h), append(pods, its)
		}
	}
	return out, pods
}

// Reclaim orders what a unit's queue may take back for it to fit, and says how
// much of it at least: less than none when all of it is not enough.
func (b *Batch) Reclaim(u *Unit, holdings []fair.Holding) (order []int, least int) {
	may := func(fair.Holding) bool { return true }
	if b.policy[u.Queue] == batchv1.ReclaimLowerPriority {
		may = fair.Below(u.Priority())
	}
	return b.book.Reclaim(u.Queue, u.key, b.Request(u), holdings, may)
}

// Whole adds to victims the others of groups that are disrupted as one; nil when
// one of these matters too much.
func (b *Batch) Whole(victims []*corev1.Pod, priority int32) []*corev1.Pod {
	out := slices.Clone(victims)
	seen := map[types.UID]bool{}
	for _, v := range victims {
		seen[v.UID] = true
	}
	for _, v := range victims {
		m := b.members[v.UID]
		if m == nil {
			continue
		}
		g := b.groups[m.Unit.key.group]
		if g == nil || g.Spec.DisruptionMode == nil || g.Spec.DisruptionMode.All == nil {
			continue
		}
		for _, other := range m.Unit.members {
			switch {
			case !other.Placed || seen[other.Pod.UID]:
			case corev1helper.PodPriority(other.Pod) >= priority:
				return nil
			default:
				seen[other.Pod.UID] = true
				out = append(out, other.Pod)
			}
		}
	}
	return out
}
