package workloads

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	typedpolicy "k8s.io/client-go/kubernetes/typed/policy/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

func (c *cluster) budgets() typedpolicy.PodDisruptionBudgetInterface {
	return c.PolicyV1().PodDisruptionBudgets(c.namespace)
}

// budget makes a budget for the pods of the app "web".
func (c *cluster) budget(name string, minAvailable, maxUnavailable *intstr.IntOrString) *policyv1.PodDisruptionBudget {
	c.Helper()
	b := &policyv1.PodDisruptionBudget{ObjectMeta: named(name), Spec: policyv1.PodDisruptionBudgetSpec{
		Selector: selecting("web"), MinAvailable: minAvailable, MaxUnavailable: maxUnavailable,
	}}
	return must[*policyv1.PodDisruptionBudget](c)(c.budgets().Create(c.ctx, b, metav1.CreateOptions{}))
}

// allows waits until the budget allows that many disruptions.
func (c *cluster) allows(name string, n int32) *policyv1.PodDisruptionBudget {
	c.Helper()
	return until(c, c.budgets(), name, "allowing", func(b *policyv1.PodDisruptionBudget) bool {
		return b.Status.ObservedGeneration == b.Generation && b.Status.DisruptionsAllowed == n && len(b.Status.DisruptedPods) == 0
	})
}

func (c *cluster) evict(pod string) error {
	return c.CoreV1().Pods(c.namespace).EvictV1(c.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod}})
}

func number(n int32) *intstr.IntOrString { return ptr.To(intstr.FromInt32(n)) }

func TestDisruption(t *testing.T) {
	c := start(t, 2)
	// Conformance: [sig-apps] DisruptionController should create a PodDisruptionBudget
	c.try("create", budgetCreated)
	// Conformance: [sig-apps] DisruptionController should observe PodDisruptionBudget status updated
	c.try("observe", func(c *cluster) {
		c.budget("budget", number(1), nil)
		for _, name := range []string{"a", "b", "c"} {
			c.loosePod(name, "web")
		}
		b := c.allows("budget", 2)
		if b.Status.CurrentHealthy != 3 || b.Status.ExpectedPods != 3 || b.Status.DesiredHealthy != 1 {
			c.Errorf("status: got %+v", b.Status)
		}
		if cond := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition); cond == nil || cond.Status != metav1.ConditionTrue || cond.Reason != policyv1.SufficientPodsReason {
			c.Errorf("condition: got %+v", cond)
		}
	})
	// Conformance: [sig-apps] DisruptionController should update/patch PodDisruptionBudget status
	c.try("status", budgetStatus)
	// Conformance: [sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it
	c.try("block", evictionBlocked)
	// Conformance: [sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets
	c.try("collection", budgetCollection)
	c.try("percentages", budgetPercentages)
	c.try("unhealthy", evictUnhealthy)
}

func budgetCreated(c *cluster) {
	c.budget("budget", number(1), nil)
	c.allows("budget", 0)
	change(c, c.budgets(), "budget", func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = number(2) })
	b := c.allows("budget", 0)
	if b.Spec.MinAvailable.IntVal != 2 || b.Status.DesiredHealthy != 2 {
		c.Errorf("after the update: %+v %+v", b.Spec, b.Status)
	}
	b = must[*policyv1.PodDisruptionBudget](c)(c.budgets().Patch(c.ctx, "budget", types.StrategicMergePatchType, []byte(`{"spec":{"minAvailable":3}}`), metav1.PatchOptions{}))
	if b.Spec.MinAvailable.IntVal != 3 {
		c.Errorf("after the patch: %+v", b.Spec)
	}
	c.allows("budget", 0)
	c.ok(c.budgets().Delete(c.ctx, "budget", metav1.DeleteOptions{}))
	untilGone(c, c.budgets(), b)
}

func budgetStatus(c *cluster) {
	c.budget("budget", number(1), nil)
	c.allows("budget", 0)
	b := changeStatus(c, c.budgets(), "budget", func(b *policyv1.PodDisruptionBudget) {
		b.Status.DisruptedPods = map[string]metav1.Time{"old": metav1.Now()}
	})
	if _, ok := b.Status.DisruptedPods["old"]; !ok {
		c.Errorf("after the update: %v", b.Status.DisruptedPods)
	}
	b = must[*policyv1.PodDisruptionBudget](c)(c.budgets().Patch(c.ctx, "budget", types.MergePatchType, []byte(`{"status":{"disruptedPods":{"old":null}}}`), metav1.PatchOptions{}, "status"))
	if len(b.Status.DisruptedPods) != 0 {
		c.Errorf("after the patch: %v", b.Status.DisruptedPods)
	}
}

func evictionBlocked(c *cluster) {
	c.budget("budget", number(3), nil)
	for _, name := range []string{"a", "b", "c"} {
		c.loosePod(name, "web")
	}
	pods := c.readyPods("web", 3)
	until(c, c.budgets(), "budget", "counted", func(b *policyv1.PodDisruptionBudget) bool { return b.Status.CurrentHealthy == 3 })
	err := c.evict("a")
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		c.Fatalf("eviction: got %v, want 429 for the budget", err)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds < 0 {
		c.Errorf("retry after %d seconds", seconds)
	}
	change(c, c.budgets(), "budget", func(b *policyv1.PodDisruptionBudget) { b.Spec.MinAvailable = number(2) })
	c.allows("budget", 1)
	c.ok(c.evict("a"))
	at := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.Name == "a" })
	untilGone(c, c.CoreV1().Pods(c.namespace), pods[at])
	c.allows("budget", 0)
	if err := c.evict("b"); !apierrors.IsTooManyRequests(err) {
		c.Errorf("second eviction: got %v, want 429", err)
	}
	// A patch lets it go; one that needs all back does not.
	must[*policyv1.PodDisruptionBudget](c)(c.budgets().Patch(c.ctx, "budget", types.MergePatchType, []byte(`{"spec":{"minAvailable":3}}`), metav1.PatchOptions{}))
	c.allows("budget", 0)
	if err := c.evict("b"); !apierrors.IsTooManyRequests(err) {
		c.Errorf("eviction under the patched budget: got %v, want 429", err)
	}
	c.ok(c.budgets().Delete(c.ctx, "budget", metav1.DeleteOptions{}))
	c.ok(c.evict("b"))
	c.readyPods("web", 1)
}

func budgetCollection(c *cluster) {
	for _, name := range []string{"a", "b", "c"} {
		c.budget(name, number(1), nil)
	}
	in := c.in(c.T)
	in.budget("a", number(1), nil)
	all := must[*policyv1.PodDisruptionBudgetList](c)(c.PolicyV1().PodDisruptionBudgets("").List(c.ctx, metav1.ListOptions{LabelSelector: "app=a"}))
	if got := len(slices.DeleteFunc(all.Items, func(b policyv1.PodDisruptionBudget) bool {
		return b.Namespace != c.namespace && b.Namespace != in.namespace
	})); got != 2 {
		c.Errorf("list of all namespaces: got %d, want 2", got)
	}
	c.ok(c.budgets().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	untilAll(c, c.budgets(), nil, "none", func(all []*policyv1.PodDisruptionBudget) bool { return len(all) == 0 })
	in.allows("a", 0)
}

func budgetPercentages(c *cluster) {
	c.createSet(replicaSet("web", 7))
	c.readyPods("web", 7)
	c.budget("least", ptr.To(intstr.FromString("50%")), nil)
	if b := c.allows("least", 3); b.Status.DesiredHealthy != 4 || b.Status.ExpectedPods != 7 {
		c.Errorf("half of seven rounds up: got %+v", b.Status)
	}
	c.budget("most", nil, ptr.To(intstr.FromString("30%")))
	if b := c.allows("most", 3); b.Status.DesiredHealthy != 4 {
		c.Errorf("30 per cent of seven rounds up: got %+v", b.Status)
	}
	change(c, c.replicaSets(), "web", func(set *appsv1.ReplicaSet) { set.Spec.Replicas = ptr.To[int32](10) })
	until(c, c.budgets(), "least", "counted anew", func(b *policyv1.PodDisruptionBudget) bool {
		return b.Status.ExpectedPods == 10 && b.Status.DisruptionsAllowed == 5
	})
}

// evictUnhealthy has pods that are not ready evicted, or not, by the budget's policy.
func evictUnhealthy(c *cluster) {
	set := replicaSet("web", 1)
	set.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	c.createSet(set)
	pods := c.podsAre("web", "running", func(pods []*corev1.Pod) bool { return len(pods) == 1 && pods[0].Status.Phase == corev1.PodRunning })
	c.budget("budget", number(1), nil)
	c.allows("budget", 0)
	if err := c.evict(pods[0].Name); !apierrors.IsTooManyRequests(err) {
		c.Errorf("eviction while the budget is not met: got %v, want 429", err)
	}
	change(c, c.budgets(), "budget", func(b *policyv1.PodDisruptionBudget) {
		b.Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.AlwaysAllow)
	})
	c.ok(c.evict(pods[0].Name))
	untilGone(c, c.CoreV1().Pods(c.namespace), pods[0])
}
