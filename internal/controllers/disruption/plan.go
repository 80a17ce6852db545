package disruption

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// evictionTime is how long an evicted pod counts as gone before it is: after
// that something else went wrong with the eviction.
const evictionTime = 2 * time.Minute

// snapshot is what a decision is made from.
type snapshot struct {
	budget *policyv1.PodDisruptionBudget
	// pods are those that the budget selects.
	pods []*corev1.Pod
	// scale is how many pods their controllers want in all.
	scale int32
	// unmanaged: some pods have no controller, so the scale leaves them out.
	unmanaged bool
}

// decide computes the budget's status, and when it changes by itself.
func decide(s snapshot, now time.Time) (policyv1.PodDisruptionBudgetStatus, time.Duration, error) {
	st := *s.budget.Status.DeepCopy()
	expected, desired, err := wanted(s)
	if err != nil {
		return st, 0, err
	}
	var again time.Duration
	st.DisruptedPods, again = disrupted(s, now)
	st.CurrentHealthy = 0
	for _, pod := range s.pods {
		_, leaving := st.DisruptedPods[pod.Name]
		if pod.DeletionTimestamp == nil && !leaving && workload.Ready(pod) {
			st.CurrentHealthy++
		}
	}
	st.ExpectedPods, st.DesiredHealthy = expected, desired
	st.DisruptionsAllowed = 0
	if expected > 0 {
		st.DisruptionsAllowed = max(st.CurrentHealthy-desired, 0)
	}
	st.ObservedGeneration = s.budget.Generation
	allowed := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionTrue, Reason: policyv1.SufficientPodsReason,
		ObservedGeneration: s.budget.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if st.DisruptionsAllowed == 0 {
		allowed.Status, allowed.Reason = metav1.ConditionFalse, policyv1.InsufficientPodsReason
	}
	meta.SetStatusCondition(&st.Conditions, allowed)
	return st, again, nil
}

// wanted says how many pods there should be and how many of them healthy.
func wanted(s snapshot) (expected, desired int32, err error) {
	spec := &s.budget.Spec
	switch {
	case spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(s.scale), true)
		if err != nil {
			return 0, 0, err
		}
		return s.scale, max(s.scale-int32(n), 0), nil
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return int32(len(s.pods)), spec.MinAvailable.IntVal, nil
	case spec.MinAvailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(s.scale), true)
		return s.scale, int32(n), err
	default:
		return 0, 0, nil // it asks for nothing
	}
}

// undeleted are the pods that an eviction named and that stayed.
func undeleted(s snapshot, now time.Time) []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range s.pods {
		since, named := s.budget.Status.DisruptedPods[pod.Name]
		if named && pod.DeletionTimestamp == nil && !since.Add(evictionTime).After(now) {
			out = append(out, pod)
		}
	}
	return out
}

// disrupted keeps of the pods that evictions named those still on their way.
func disrupted(s snapshot, now time.Time) (map[string]metav1.Time, time.Duration) {
	var out map[string]metav1.Time
	var again time.Duration
	for _, pod := range s.pods {
		since, named := s.budget.Status.DisruptedPods[pod.Name]
		left := since.Add(evictionTime).Sub(now)
		if !named || pod.DeletionTimestamp != nil || left <= 0 {
			continue
		}
		if out == nil {
			out = map[string]metav1.Time{}
		}
		out[pod.Name] = since
		if again == 0 || left < again {
			again = left
		}
	}
	return out, again
}

// same says that two statuses tell the same.
func same(a, b policyv1.PodDisruptionBudgetStatus) bool { return equality.Semantic.DeepEqual(a, b) }
