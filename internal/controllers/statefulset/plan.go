package statefulset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// snapshot is what a decision is made from.
type snapshot struct {
	set *appsv1.StatefulSet
	// pods are all pods that the set controls.
	pods []*corev1.Pod
	// current and update name the revisions that pods have and shall have.
	current, update string
}

// plan is what to do for one StatefulSet.
type plan struct {
	// create are the numbers of pods to make, in order, and their revision.
	create []creation
	// remove are pods to delete, in order.
	remove []*corev1.Pod
	// renew are pods that ended and are deleted only to be made anew.
	renew []*corev1.Pod
	// store are the numbers of pods that wait, perhaps for a claim that is gone.
	store []int
	// identify are pods whose labels must be put right.
	identify []*corev1.Pod
	// keep and give up are the numbers whose claims stay and those to be left.
	keep   []int
	giveUp []*corev1.Pod
	status appsv1.StatefulSetStatus
	again  time.Duration
}

type creation struct {
	ordinal  int
	revision string
}

// decide says how to bring the set nearer to its spec.
func decide(s snapshot, now time.Time) plan {
	y := newState(s, now)
	y.count()
	if s.set.DeletionTimestamp == nil {
		y.act()
	}
	y.complete()
	return y.plan
}

// state is one decision in the making.
type state struct {
	plan
	snapshot
	now       time.Time
	ordered   bool
	first     int
	slots     []*corev1.Pod // by number, from first on; nil where a pod is missing
	condemned []*corev1.Pod // pods beyond, highest number first
	unhealthy *corev1.Pod   // the first that is not well
}

func newState(s snapshot, now time.Time) *state {
	y := &state{snapshot: s, now: now, ordered: s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement}
	if s.set.Spec.Ordinals != nil {
		y.first = int(s.set.Spec.Ordinals.Start)
	}
	y.slots = make([]*corev1.Pod, replicas(s.set))
	for _, pod := range s.pods {
		n, ok := ordinal(s.set, pod)
		switch {
		case !ok:
		case n >= y.first && n < y.first+len(y.slots):
			y.slots[n-y.first] = pod
		default:
			y.condemned = append(y.condemned, pod)
		}
	}
	slices.SortFunc(y.condemned, func(a, b *corev1.Pod) int {
		x, _ := ordinal(s.set, a)
		z, _ := ordinal(s.set, b)
		return cmp.Compare(z, x)
	})
	for _, pod := range slices.Concat(y.slots, y.condemned) {
		if pod != nil && !healthy(pod) && y.unhealthy == nil {
			y.unhealthy = pod
		}
	}
	return y
}

func replicas(set *appsv1.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

func runningAndReady(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && workload.Ready(pod)
}

func healthy(pod *corev1.Pod) bool { return runningAndReady(pod) && pod.DeletionTimestamp == nil }

// available also notes when a ready pod will have been so for long enough.
func (y *state) available(pod *corev1.Pod) bool {
	wait, ready := workload.AvailableIn(pod, y.set.Spec.MinReadySeconds, y.now)
	if !ready || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	if wait > 0 && (y.again == 0 || wait < y.again) {
		y.again = wait
	}
	return wait == 0
}

func revision(pod *corev1.Pod) string { return pod.Labels[appsv1.ControllerRevisionHashLabelKey] }

// count fills the status with what there is.
func (y *state) count() {
	st := *y.set.Status.DeepCopy()
	st.ObservedGeneration = y.set.Generation
	if st.CollisionCount == nil {
		st.CollisionCount = new(int32)
	}
	st.CurrentRevision, st.UpdateRevision = y.current, y.update
	st.Replicas, st.ReadyReplicas, st.AvailableReplicas, st.CurrentReplicas, st.UpdatedReplicas = 0, 0, 0, 0, 0
	for _, pod := range y.pods {
		st.Replicas++
		if runningAndReady(pod) {
			st.ReadyReplicas++
			if y.available(pod) {
				st.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if revision(pod) == y.current {
			st.CurrentReplicas++
		}
		if revision(pod) == y.update {
			st.UpdatedReplicas++
		}
	}
	y.status = st
}

func (y *state) act() {
	for i, pod := range y.slots {
		y.keep = append(y.keep, y.first+i)
		if pod != nil && pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil {
			y.store = append(y.store, y.first+i)
		}
		if pod != nil && !identified(y.set, pod, y.first+i) {
			y.identify = append(y.identify, pod)
		}
	}
	y.giveUp = y.condemned
	if !y.fill() || !y.shrink() {
		return
	}
	if y.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		y.roll()
	}
}

// fill makes missing pods and replaces ended ones. It returns false if what
// comes after must wait.
func (y *state) fill() bool {
	for i, pod := range y.slots {
		n := y.first + i
		switch {
		case pod == nil:
			y.create = append(y.create, creation{ordinal: n, revision: y.revisionFor(n)})
		case workload.Finished(pod):
			if pod.DeletionTimestamp == nil {
				y.renew = append(y.renew, pod)
			}
		case !y.ordered:
			continue
		case pod.DeletionTimestamp == nil && runningAndReady(pod) && y.available(pod):
			continue
		}
		if y.ordered {
			return false
		}
	}
	return true
}

// revisionFor is the revision of a new pod: one below the partition stays as it
// was.
func (y *state) revisionFor(n int) string {
	if y.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && n < y.first+y.partition() {
		return y.current
	}
	return y.update
}

func (y *state) partition() int {
	if r := y.set.Spec.UpdateStrategy.RollingUpdate; r != nil && r.Partition != nil {
		return int(*r.Partition)
	}
	return 0
}

// shrink deletes pods beyond the set's size, highest number first.
func (y *state) shrink() bool {
	for _, pod := range y.condemned {
		if pod.DeletionTimestamp != nil {
			if y.ordered {
				return false
			}
			continue
		}
		if y.ordered && !(runningAndReady(pod) && y.available(pod)) && pod != y.unhealthy {
			return false // one before it is not well: it may be needed
		}
		y.remove = append(y.remove, pod)
		if y.ordered {
			return false
		}
	}
	return true
}

// roll replaces pods of another revision, highest number first, as many at a
// time as may be unavailable. One that is unavailable anyway costs nothing to
// replace: were it to wait for those above it, a broken template could never be
// mended.
func (y *state) roll() {
	most, before := y.maxUnavailable(), len(y.remove)
	spare := most
	for _, pod := range y.slots {
		if !y.serves(pod) {
			spare--
		}
	}
	for i := len(y.slots) - 1; i >= y.partition() && len(y.remove)-before < most; i-- {
		pod := y.slots[i]
		if pod == nil || revision(pod) == y.update || pod.DeletionTimestamp != nil {
			continue
		}
		if y.serves(pod) {
			if spare <= 0 {
				continue
			}
			spare--
		}
		y.remove = append(y.remove, pod)
		if revision(pod) == y.current {
			y.status.CurrentReplicas--
		}
	}
}

// serves says that the pod is there for those who use it.
func (y *state) serves(pod *corev1.Pod) bool {
	return pod != nil && healthy(pod) && y.available(pod)
}

func (y *state) maxUnavailable() int {
	r := y.set.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(r.MaxUnavailable, len(y.slots), false)
	if err != nil {
		return 1
	}
	return max(n, 1)
}

// complete ends a rollout: what was the update is current from now on.
func (y *state) complete() {
	st := &y.status
	if y.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	if st.UpdatedReplicas == st.Replicas && st.ReadyReplicas == st.Replicas && int(st.Replicas) == len(y.slots) {
		st.CurrentReplicas = st.UpdatedReplicas
		st.CurrentRevision = st.UpdateRevision
	}
}
