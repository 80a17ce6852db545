package disruption

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestDecide(t *testing.T) {
	now := time.Unix(10_000, 0)
	val := func(s string) *intstr.IntOrString { v := intstr.Parse(s); return &v }
	type result struct{ expected, desired, healthy, allowed int32 }
	for _, tt := range []struct {
		name        string
		min, max    *intstr.IntOrString
		ready, not  int
		scale       int32
		evictedAgo  time.Duration // of the first pod; 0: not evicted
		want        result
		againWithin time.Duration
	}{
		{name: "a number must stay", min: val("2"), ready: 3, scale: 3, want: result{3, 2, 3, 1}},
		{name: "a share must stay", min: val("50%"), ready: 3, scale: 5, want: result{5, 3, 3, 0}},
		{name: "some may go", max: val("1"), ready: 3, scale: 3, want: result{3, 2, 3, 1}},
		{name: "a share may go", max: val("34%"), ready: 3, scale: 3, want: result{3, 1, 3, 2}},
		{name: "some are not well", max: val("1"), ready: 2, not: 1, scale: 3, want: result{3, 2, 2, 0}},
		{name: "one is on its way", max: val("1"), ready: 3, scale: 3, evictedAgo: time.Minute, want: result{3, 2, 2, 0}, againWithin: time.Minute},
		{name: "one has been on its way for too long", max: val("1"), ready: 3, scale: 3, evictedAgo: time.Hour, want: result{3, 2, 3, 1}},
		{name: "no pods", min: val("1"), want: result{0, 1, 0, 0}},
		{name: "nothing is asked for", ready: 3, scale: 3, want: result{0, 0, 3, 0}},
		{name: "all may go", max: val("100%"), ready: 3, scale: 3, want: result{3, 0, 3, 3}},
	} {
		s := snapshot{budget: &policyv1.PodDisruptionBudget{}, scale: tt.scale}
		s.budget.Spec.MinAvailable, s.budget.Spec.MaxUnavailable = tt.min, tt.max
		for i := range tt.ready + tt.not {
			status := corev1.ConditionTrue
			if i >= tt.ready {
				status = corev1.ConditionFalse
			}
			s.pods = append(s.pods, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)},
				Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
			})
		}
		if tt.evictedAgo > 0 {
			s.budget.Status.DisruptedPods = map[string]metav1.Time{"0": metav1.NewTime(now.Add(-tt.evictedAgo))}
		}
		st, again, err := decide(s, now)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got := result{st.ExpectedPods, st.DesiredHealthy, st.CurrentHealthy, st.DisruptionsAllowed}
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(result{})); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
		if stayed := len(undeleted(s, now)) > 0; stayed != (tt.evictedAgo > evictionTime) {
			t.Errorf("%s: a pod stayed: %v", tt.name, stayed)
		}
		if again != tt.againWithin {
			t.Errorf("%s: again after %v, want %v", tt.name, again, tt.againWithin)
		}
	}
}
