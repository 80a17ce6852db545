package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// burst is the most pods created or deleted in one go. Between two of them the
// cache must have shown the first.
const burst = 2000

// snapshot is what a decision is made from.
type snapshot struct {
	set *appsv1.ReplicaSet
	// pods are all pods that the set controls.
	pods []*corev1.Pod
	// related are the pods of all sets of the same controller (a Deployment's).
	related []*corev1.Pod
}

// plan is what to do for one ReplicaSet.
type plan struct {
	create int
	remove []*corev1.Pod
}

// decide says how many pods to create or which to delete.
func decide(s snapshot, now time.Time) plan {
	if s.set.DeletionTimestamp != nil {
		return plan{}
	}
	active := activePods(s.pods)
	missing := int(*s.set.Spec.Replicas) - len(active)
	switch {
	case missing > 0:
		return plan{create: min(missing, burst)}
	case missing < 0:
		crowd := map[string]int{}
		for _, pod := range s.related {
			if workload.Active(pod) {
				crowd[pod.Spec.NodeName]++
			}
		}
		workload.SortForDeletion(active, crowd, now)
		return plan{remove: active[:min(-missing, burst)]}
	default:
		return plan{}
	}
}

func activePods(pods []*corev1.Pod) []*corev1.Pod {
	var active []*corev1.Pod
	for _, pod := range pods {
		if workload.Active(pod) {
			active = append(active, pod)
		}
	}
	return active
}

// failure is why the last creation or deletion did not work, for the status.
type failure struct {
	reason string
	err    error
}

// status computes the status that the pods give, and after which time it changes
// by itself because a ready pod becomes available.
func status(s snapshot, failed *failure, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	var again time.Duration
	next := *s.set.Status.DeepCopy()
	template := labels.SelectorFromSet(s.set.Spec.Template.Labels)
	var fully, ready, available, terminating, total int32
	for _, pod := range s.pods {
		if !workload.Active(pod) {
			if pod.DeletionTimestamp != nil && !workload.Finished(pod) {
				terminating++
			}
			continue
		}
		total++
		if template.Matches(labels.Set(pod.Labels)) {
			fully++
		}
		wait, isReady := workload.AvailableIn(pod, s.set.Spec.MinReadySeconds, now)
		if !isReady {
			continue
		}
		ready++
		if wait == 0 {
			available++
		} else if again == 0 || wait < again {
			again = wait
		}
	}
	next.Replicas, next.FullyLabeledReplicas = total, fully
	next.ReadyReplicas, next.AvailableReplicas = ready, available
	next.TerminatingReplicas = &terminating
	next.ObservedGeneration = s.set.Generation
	next.Conditions = conditions(next.Conditions, failed, now)
	return next, again
}

// conditions sets or clears ReplicaFailure.
func conditions(have []appsv1.ReplicaSetCondition, failed *failure, now time.Time) []appsv1.ReplicaSetCondition {
	var out []appsv1.ReplicaSetCondition
	present := false
	for _, c := range have {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			out = append(out, c)
		} else if failed != nil {
			present = true
			out = append(out, c)
		}
	}
	if failed != nil && !present {
		out = append(out, appsv1.ReplicaSetCondition{
			Type:               appsv1.ReplicaSetReplicaFailure,
			Status:             corev1.ConditionTrue,
			Reason:             failed.reason,
			Message:            failed.err.Error(),
			LastTransitionTime: metav1.NewTime(now),
		})
	}
	return out
}
