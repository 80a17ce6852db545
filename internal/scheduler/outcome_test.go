package scheduler_test

import (
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/internal/scheduler/decisions"
)

// refuseBindings lets the API refuse to bind pods whose names begin with
// "refused", until what it returns is called.
func (r *rig) refuseBindings() (end func()) {
	r.Helper()
	api := r.AdmissionregistrationV1()
	_, err := api.ValidatingAdmissionPolicies().Create(r.ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "bindings"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/binding"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "!object.metadata.name.startsWith('refused')"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	_, err = api.ValidatingAdmissionPolicyBindings().Create(r.ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bindings"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "bindings", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	r.addPod("refused-probe", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "nobody" })
	await := func(refused bool) {
		r.Helper()
		for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			err := r.CoreV1().Pods("default").Bind(r.ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: "refused-probe"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"},
			}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if (err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")) == refused {
				return
			}
			if time.Now().After(until) {
				r.Fatalf("bindings are refused: want %v, got %v", refused, err)
			}
		}
	}
	await(true)
	return func() {
		r.Helper()
		if err := api.ValidatingAdmissionPolicyBindings().Delete(r.ctx, "bindings", metav1.DeleteOptions{}); err != nil {
			r.Fatal(err)
		}
		await(false)
	}
}

// awaitTold waits until a pod is told something, and returns its condition.
func (r *rig) awaitTold(name, part string) *corev1.PodCondition {
	r.Helper()
	return scheduled(r.await(name, "told "+part, func(p *corev1.Pod) bool {
		c := scheduled(p)
		return c != nil && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, part)
	}))
}

// What a pod was given, its CPU and a claim that one pod may use at a time, goes to
// another when the API refuses to bind it, and it gets its turn again.
func TestARefusedBindingGivesItsPlaceBack(t *testing.T) {
	var kept noted
	r := startWith(t, scheduler.Options{Decisions: &kept})
	r.addNode("n1", "1")
	r.addClass("local", "kubernetes.io/no-provisioner")
	class := "local"
	_, err := r.CoreV1().PersistentVolumeClaims("default").Create(r.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.addVolume("disk", "local", "n1")
	r.bindClaim("data", "disk")
	permit := r.refuseBindings()
	r.addPod("refused", "1", uses("data"))
	lost := func(d decisions.Decision) bool { return strings.Contains(d.Why, "binding it to node n1") }
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all := kept.of("refused")
		if len(all) > 0 && lost(all[len(all)-1]) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("no binding was refused: %+v", all)
		}
	}
	const refused = `running Bind plugin "DefaultBinder": pods "refused" is forbidden: `
	if c := r.awaitTold("refused", refused); c.Reason != corev1.PodReasonSchedulerError {
		t.Errorf("reason: %s", c.Reason)
	}
	if note := r.awaitEvent("refused", "FailedScheduling"); !strings.HasPrefix(note, refused) {
		t.Errorf("event: %q", note)
	}
	r.addPod("other", "1", uses("data"))
	r.awaitNode("other", "n1")
	r.awaitTold("refused", "Insufficient cpu")
	permit()
	r.remove("other")
	r.awaitNode("refused", "n1")
}

// The pods of a gang that were bound stay when the API refuses one of them; that
// one gives its place back and is tried again before other groups.
func TestARefusedMemberOfAGangIsTriedAgain(t *testing.T) {
	r := start(t)
	r.addNode("n1", "2")
	permit := r.refuseBindings()
	r.addGang("g", 2)
	r.addPod("bound", "1", inGroup("g"))
	r.addPod("refused", "1", inGroup("g"))
	r.awaitNode("bound", "n1")
	r.addPod("other", "1", nil)
	r.awaitNode("other", "n1")
	r.awaitTold("refused", "Insufficient cpu")
	permit()
	r.remove("other")
	r.awaitNode("refused", "n1")
}
