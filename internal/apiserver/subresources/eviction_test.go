package subresources

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRefusedEviction(t *testing.T) {
	closed := func(reason, message string) []metav1.Condition {
		return []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	}
	for _, tt := range []struct {
		name   string
		status policyv1.PodDisruptionBudgetStatus
		code   int32
		cause  string
	}{
		{"too few", policyv1.PodDisruptionBudgetStatus{DesiredHealthy: 2, CurrentHealthy: 1}, 429,
			"The disruption budget b needs 2 healthy pods and has 1 currently"},
		{"enough, but none is expected", policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1}, 429,
			"The disruption budget b does not allow evicting pods currently"},
		{"enough, and told why not", policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, Conditions: closed("Other", "so it is")}, 429,
			"The disruption budget b does not allow evicting pods currently (Other): so it is"},
		{"not computed", policyv1.PodDisruptionBudgetStatus{DesiredHealthy: 2, Conditions: closed(policyv1.SyncFailedReason, "no scale")}, 429,
			"The disruption budget b does not allow evicting pods currently because it failed sync: no scale"},
		{"negative", policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1}, 403,
			"The disruption budget b does not allow evicting pods currently: pdb disruptions allowed is negative"},
		{"many on their way", policyv1.PodDisruptionBudgetStatus{DisruptedPods: manyDisrupted()}, 403,
			"The disruption budget b does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller"},
	} {
		_, err := spent(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: tt.status}, "p")
		status, ok := err.(apierrors.APIStatus)
		if !ok {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := status.Status()
		if got.Code != tt.code || len(got.Details.Causes) != 1 || got.Details.Causes[0].Message != tt.cause {
			t.Errorf("%s: %d %v, want %d %q", tt.name, got.Code, got.Details.Causes, tt.code, tt.cause)
		}
	}
}

func manyDisrupted() map[string]metav1.Time {
	out := map[string]metav1.Time{}
	for i := range maxDisrupted + 1 {
		out[string(rune(i))] = metav1.Time{}
	}
	return out
}
