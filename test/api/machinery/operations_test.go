package machinery

import (
	"context"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// operate does with a cluster-wide resource all that an API offers: %q in the
// text is the object's name. status is a patch of the status, "" where there is none.
func (c *cluster) operate(gvr schema.GroupVersionResource, text, status string) {
	c.Helper()
	c.ok(contains(c, "/apis/"+gvr.Group, asJSON, `"`+gvr.GroupVersion().String()+`"`))
	c.ok(contains(c, "/apis/"+gvr.GroupVersion().String(), asJSON, `"name":"`+gvr.Resource+`"`))
	api, mine := c.dyn.Resource(gvr), metav1.ListOptions{LabelSelector: "special=" + c.ns}
	c.later(func(ctx context.Context) { _ = api.DeleteCollection(ctx, metav1.DeleteOptions{}, mine) })
	var made *unstructured.Unstructured
	for i := range 3 {
		o := object(text, fmt.Sprint(c.ns, "-", i))
		o.SetLabels(map[string]string{"special": c.ns})
		made = try(api.Create(c.ctx, o, metav1.CreateOptions{})).or(c)
	}
	got := try(api.Get(c.ctx, made.GetName(), metav1.GetOptions{})).or(c)
	if got.GetUID() != made.GetUID() {
		c.Errorf("made %s, got %s", made.GetUID(), got.GetUID())
	}
	list := try(api.List(c.ctx, mine)).or(c)
	if len(list.Items) != 3 {
		c.Errorf("%d listed", len(list.Items))
	}
	w := try(api.Watch(c.ctx, metav1.ListOptions{LabelSelector: mine.LabelSelector, ResourceVersion: list.GetResourceVersion()})).or(c)
	defer w.Stop()
	patched := try(api.Patch(c.ctx, made.GetName(), types.MergePatchType, []byte(`{"metadata":{"annotations":{"patched":"true"}}}`), metav1.PatchOptions{})).or(c)
	if patched.GetAnnotations()["patched"] != "true" {
		c.Error("not patched")
	}
	patched.SetAnnotations(map[string]string{"patched": "true", "updated": "true"})
	c.eventually("the update", func() error { // a controller may have written meanwhile
		now := try(api.Get(c.ctx, made.GetName(), metav1.GetOptions{})).or(c)
		patched.SetResourceVersion(now.GetResourceVersion())
		_, err := api.Update(c.ctx, patched, metav1.UpdateOptions{})
		return err
	})
	c.await("the update", w, func(e watch.Event) bool {
		o, ok := e.Object.(*unstructured.Unstructured)
		return ok && e.Type == watch.Modified && o.GetAnnotations()["updated"] == "true"
	})
	if status != "" {
		c.operateStatus(gvr, made.GetName(), status)
	}
	c.ok(api.Delete(c.ctx, made.GetName(), metav1.DeleteOptions{}))
	c.await("the deletion", w, func(e watch.Event) bool { return e.Type == watch.Deleted })
	_, err := api.Get(c.ctx, made.GetName(), metav1.GetOptions{})
	c.refused(err, apierrors.IsNotFound, fmt.Sprintf(`%s.%s %q not found`, gvr.Resource, gvr.Group, made.GetName()))
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, mine))
	if list := try(api.List(c.ctx, mine)).or(c); len(list.Items) != 0 {
		c.Errorf("%d left", len(list.Items))
	}
}

func (c *cluster) operateStatus(gvr schema.GroupVersionResource, name, status string) {
	c.Helper()
	api := c.dyn.Resource(gvr)
	patched := try(api.Patch(c.ctx, name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")).or(c)
	now := try(api.Get(c.ctx, name, metav1.GetOptions{}, "status")).or(c)
	want, _, _ := unstructured.NestedSlice(patched.Object, "status", "conditions")
	if got, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions"); len(want) == 0 || len(got) < len(want) { // a controller may add its own
		c.Errorf("conditions of the status are %v, patched %v", got, want)
	}
	c.eventually("the update of the status", func() error {
		now := try(api.Get(c.ctx, name, metav1.GetOptions{})).or(c)
		_, err := api.UpdateStatus(c.ctx, now, metav1.UpdateOptions{})
		return err
	})
}

const condition = `{"status":{"conditions":[{"type":"PatchStatusFailed","status":"False","reason":"PatchedByTest","message":"from a test","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`

func registered(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
}

func fair(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "flowcontrol.apiserver.k8s.io", Version: "v1", Resource: resource}
}

// Conformance: [sig-api-machinery] API priority and fairness should support FlowSchema API operations
func TestFlowSchemas(t *testing.T) {
	c := begin(t)
	c.operate(fair("flowschemas"), `{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":%q},
"spec":{"matchingPrecedence":10000,"priorityLevelConfiguration":{"name":"global-default"},"distinguisherMethod":{"type":"ByUser"},
"rules":[{"subjects":[{"kind":"User","user":{"name":"example-e2e-non-existent-user"}}],
"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}}`, condition)
}

// Conformance: [sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations
func TestPriorityLevels(t *testing.T) {
	c := begin(t)
	c.operate(fair("prioritylevelconfigurations"), `{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":%q},
"spec":{"type":"Limited","limited":{"nominalConcurrencyShares":2,"limitResponse":{"type":"Reject"}}}}`, condition)
}

const policy = `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":%q},
"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE","UPDATE"],"resources":["deployments"]}]},
"validations":[{"expression":"object.spec.replicas <= 100"}]}}`

// Conformance: [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations
func TestValidatingPolicies(t *testing.T) {
	begin(t).operate(registered("validatingadmissionpolicies"), policy, condition)
}

// Conformance: [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations
func TestValidatingPolicyBindings(t *testing.T) {
	begin(t).operate(registered("validatingadmissionpolicybindings"), `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding",
"metadata":{"name":%q},"spec":{"policyName":"replicalimit-policy.example.com","validationActions":["Deny"]}}`, "")
}

// Conformance: [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations
func TestMutatingPolicies(t *testing.T) {
	begin(t).operate(registered("mutatingadmissionpolicies"), `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicy","metadata":{"name":%q},
"spec":{"reinvocationPolicy":"Never","matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],"resources":["nothing"]}]},
"mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{metadata: Object.metadata{labels: {'a': 'b'}}}"}}]}}`, "")
}

// Conformance: [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations
func TestMutatingPolicyBindings(t *testing.T) {
	begin(t).operate(registered("mutatingadmissionpolicybindings"), `{"apiVersion":"admissionregistration.k8s.io/v1","kind":"MutatingAdmissionPolicyBinding",
"metadata":{"name":%q},"spec":{"policyName":"no-such-policy.example.com"}}`, "")
}
