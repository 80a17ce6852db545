package machinery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// judge answers one request of admission: with an error it refuses, with a patch
// it changes.
type judge func(*admissionv1.AdmissionRequest) (patch string, refusal error)

// hook serves a judge as webhook.
func hook(j judge) http.Handler {
	return answering(func(review *admissionv1.AdmissionReview) {
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		patch, refusal := j(review.Request)
		if refusal != nil {
			response.Allowed, response.Result = false, &metav1.Status{Message: refusal.Error()}
		}
		if patch != "" {
			response.PatchType, response.Patch = ptr(admissionv1.PatchTypeJSONPatch), []byte(patch)
		}
		review.Request, review.Response = nil, response
	})
}

// client is where the API server finds the webhook: at its service if it has one.
func (r remote) client(c *cluster) admissionregistrationv1.WebhookClientConfig {
	if r.service == "" {
		return admissionregistrationv1.WebhookClientConfig{URL: ptr(r.url + "/"), CABundle: r.ca}
	}
	return admissionregistrationv1.WebhookClientConfig{CABundle: r.ca, Service: &admissionregistrationv1.ServiceReference{
		Namespace: c.ns, Name: r.service, Path: ptr("/always"), Port: ptr(r.port),
	}}
}

type operations = []admissionregistrationv1.OperationType

const (
	create  = admissionregistrationv1.Create
	update  = admissionregistrationv1.Update
	remove  = admissionregistrationv1.Delete
	connect = admissionregistrationv1.Connect
)

func rule(group, version, resource string, ops ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: ops,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: strings.Split(resource, ",")},
	}}
}

// validating is a webhook for the test's own namespace.
func (c *cluster) validating(client admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name: "deny.example.com", ClientConfig: client, Rules: rules, NamespaceSelector: c.here(),
		SideEffects: ptr(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1", "v1beta1"},
		TimeoutSeconds: ptr(int32(30)),
	}
}

func (c *cluster) mutating(client admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations) admissionregistrationv1.MutatingWebhook {
	return admissionregistrationv1.MutatingWebhook{
		Name: "change.example.com", ClientConfig: client, Rules: rules, NamespaceSelector: c.here(),
		SideEffects: ptr(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1", "v1beta1"},
		TimeoutSeconds: ptr(int32(30)),
	}
}

// validate registers webhooks, mutate those that change, until the test ends.
func (c *cluster) validate(hooks ...admissionregistrationv1.ValidatingWebhook) *admissionregistrationv1.ValidatingWebhookConfiguration {
	c.Helper()
	api := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	made := try(api.Create(c.ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: c.ns + "-", Labels: map[string]string{"test": c.ns}}, Webhooks: hooks,
	}, metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = api.Delete(ctx, made.Name, metav1.DeleteOptions{}) })
	return made
}

func (c *cluster) mutate(hooks ...admissionregistrationv1.MutatingWebhook) *admissionregistrationv1.MutatingWebhookConfiguration {
	c.Helper()
	api := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made := try(api.Create(c.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: c.ns + "-", Labels: map[string]string{"test": c.ns}}, Webhooks: hooks,
	}, metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = api.Delete(ctx, made.Name, metav1.DeleteOptions{}) })
	return made
}

// effect waits until a dry run of a config map is answered as wanted.
func (c *cluster) effect(what string, probe *corev1.ConfigMap, seen func(*corev1.ConfigMap, error) bool) {
	c.Helper()
	c.eventually(what, func() error {
		got, err := c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if seen(got, err) {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
}

func denied(_ *corev1.ConfigMap, err error) bool {
	return err != nil && strings.Contains(err.Error(), "denied the request")
}

func admitted(_ *corev1.ConfigMap, err error) bool { return err == nil }

// subject is the object that a request is about, as far as judges look at it.
func subject(r *admissionv1.AdmissionRequest) *corev1.ConfigMap {
	o := &corev1.ConfigMap{}
	raw := r.Object.Raw
	if r.Operation == admissionv1.Delete {
		raw = r.OldObject.Raw
	}
	if err := json.Unmarshal(raw, o); err != nil {
		o.Name = err.Error()
	}
	return o
}

// disallow refuses what says that it is disallowed.
func disallow(r *admissionv1.AdmissionRequest) (string, error) {
	if subject(r).Data["webhook-e2e-test"] == "webhook-disallow" {
		return "", fmt.Errorf("the configmap contains unwanted key and value")
	}
	return "", nil
}

func unwanted(name string) *corev1.ConfigMap {
	return configMap(name, map[string]string{"webhook-e2e-test": "webhook-disallow"})
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation
func TestWebhookDenies(t *testing.T) {
	c := begin(t)
	var client = c.serve(hook(func(r *admissionv1.AdmissionRequest) (string, error) {
		if r.Resource.Resource == "pods" {
			if r.Name == "slow" {
				<-c.ctx.Done()
			}
			return "", fmt.Errorf("the pod contains unwanted container name")
		}
		return disallow(r)
	})).client(c)
	maps := c.validating(client, rule("", "v1", "configmaps", create, update))
	pods := c.validating(client, rule("", "v1", "pods", create))
	pods.Name, pods.TimeoutSeconds = "deny-pods.example.com", ptr(int32(1))
	other := c.namespace(nil)
	c.validate(maps, pods)
	c.effect("the webhook", unwanted("probe"), denied)

	_, err := c.CoreV1().Pods(c.ns).Create(c.ctx, pod("bad", nil), metav1.CreateOptions{})
	c.refused(err, nil, `admission webhook "deny-pods.example.com" denied the request: the pod contains unwanted container name`)
	_, err = c.CoreV1().Pods(c.ns).Create(c.ctx, pod("slow", nil), metav1.CreateOptions{})
	c.refused(err, apierrors.IsInternalError, `failed calling webhook "deny-pods.example.com": failed to call webhook: Post "https://remote.`+c.ns+`.svc:`)
	c.refused(err, nil, "context deadline exceeded")
	_, err = c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, unwanted("bad"), metav1.CreateOptions{})
	c.refused(err, nil, `admission webhook "deny.example.com" denied the request: the configmap contains unwanted key and value`)

	good := try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, configMap("good", nil), metav1.CreateOptions{})).or(c)
	good.Data = unwanted("").Data
	_, err = c.CoreV1().ConfigMaps(c.ns).Update(c.ctx, good, metav1.UpdateOptions{})
	c.refused(err, nil, "denied the request")
	_, err = c.CoreV1().ConfigMaps(c.ns).Patch(c.ctx, "good", types.MergePatchType, []byte(`{"data":{"webhook-e2e-test":"webhook-disallow"}}`), metav1.PatchOptions{})
	c.refused(err, nil, "denied the request")
	try(c.CoreV1().ConfigMaps(other).Create(c.ctx, unwanted("elsewhere"), metav1.CreateOptions{})).or(c)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod
func TestWebhookDeniesAttach(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(func(r *admissionv1.AdmissionRequest) (string, error) {
		if r.Operation != admissionv1.Connect || r.SubResource != "attach" || r.Kind.Kind != "PodAttachOptions" {
			return "", fmt.Errorf("asked about %s %s of %s", r.Operation, r.SubResource, r.Kind.Kind)
		}
		return "", fmt.Errorf("attaching to pod '%s' is not allowed", r.Name)
	})).client(c)
	c.validate(c.validating(client, rule("", "v1", "pods/attach", connect)))
	try(c.CoreV1().Pods(c.ns).Create(c.ctx, pod("one", nil), metav1.CreateOptions{})).or(c)
	c.eventually("the refusal", func() error {
		err := c.CoreV1().RESTClient().Post().Namespace(c.ns).Resource("pods").Name("one").SubResource("attach").
			Param("container", "main").Param("stdout", "true").Do(c.ctx).Error()
		if err != nil && strings.Contains(err.Error(), "attaching to pod 'one' is not allowed") {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, update and deletion
func TestWebhookDeniesCustomResource(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	client := c.serve(hook(disallow)).client(c)
	c.validate(c.validating(client, rule(crd.Spec.Group, "*", "foos", create, update, remove)))
	foos := c.of(crd, "v1")
	bad := func(name string) map[string]any {
		return with(foo(crd, "v1", name), "data", map[string]any{"webhook-e2e-test": "webhook-disallow"}).Object
	}
	o := foo(crd, "v1", "bad")
	o.Object = bad("bad")
	c.eventually("the refusal of a creation", func() error {
		_, err := foos.Create(c.ctx, o, metav1.CreateOptions{DryRun: []string{"All"}})
		if err != nil && strings.Contains(err.Error(), "the configmap contains unwanted key and value") {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
	try(foos.Create(c.ctx, with(foo(crd, "v1", "good"), "data", map[string]any{"fine": "yes"}), metav1.CreateOptions{})).or(c)
	_, err := foos.Patch(c.ctx, "good", types.MergePatchType, []byte(`{"data":{"webhook-e2e-test":"webhook-disallow"}}`), metav1.PatchOptions{})
	c.refused(err, nil, `admission webhook "deny.example.com" denied the request`)

	// One that is there already cannot be deleted until it is good again.
	api := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=" + c.ns}))
	c.eventually("creation without webhook", func() error {
		_, err := foos.Create(c.ctx, o, metav1.CreateOptions{})
		return err
	})
	c.validate(c.validating(client, rule(crd.Spec.Group, "*", "foos", remove)))
	c.eventually("the refusal of a deletion", func() error {
		err := foos.Delete(c.ctx, "bad", metav1.DeleteOptions{DryRun: []string{"All"}})
		if err != nil && strings.Contains(err.Error(), "denied the request") {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
	try(foos.Patch(c.ctx, "bad", types.MergePatchType, []byte(`{"data":{"webhook-e2e-test":"fine"}}`), metav1.PatchOptions{})).or(c)
	c.ok(foos.Delete(c.ctx, "bad", metav1.DeleteOptions{}))
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation
func TestWebhookDeniesDefinitions(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(func(r *admissionv1.AdmissionRequest) (string, error) {
		return "", fmt.Errorf("the crd contains unwanted label")
	})).client(c)
	w := c.validating(client, rule("apiextensions.k8s.io", "*", "customresourcedefinitions", create))
	w.NamespaceSelector = nil
	w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"unwanted": c.ns}}
	c.validate(w)
	crd := simple(c.ns)
	crd.Labels["unwanted"] = c.ns
	c.eventually("the refusal", func() error {
		_, err := c.definitions().ApiextensionsV1().CustomResourceDefinitions().Create(c.ctx, crd, metav1.CreateOptions{DryRun: []string{"All"}})
		if err != nil && strings.Contains(err.Error(), `admission webhook "deny.example.com" denied the request: the crd contains unwanted label`) {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail closed webhook
func TestWebhookFailsClosed(t *testing.T) {
	c := begin(t)
	r := c.serveURL(hook(disallow))
	client := r.client(c)
	_, ca := c.certificate("localhost") // of another server
	client.CABundle = ca
	closed := c.validating(client, rule("", "v1", "configmaps", create))
	closed.FailurePolicy = ptr(admissionregistrationv1.Fail)
	c.validate(closed)
	c.effect("the refusal", configMap("any", nil), func(_ *corev1.ConfigMap, err error) bool {
		return apierrors.IsInternalError(err) && strings.Contains(err.Error(), `failed calling webhook "deny.example.com"`)
	})
	open := closed
	open.FailurePolicy = ptr(admissionregistrationv1.Ignore)
	other := c.namespace(nil)
	open.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"test": other}}
	c.validate(open)
	try(c.CoreV1().ConfigMaps(other).Create(c.ctx, configMap("any", nil), metav1.CreateOptions{})).or(c)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout
func TestWebhookTimeout(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(func(r *admissionv1.AdmissionRequest) (string, error) {
		if r.Name == "quick" {
			return "", fmt.Errorf("quick is not wanted")
		}
		timer := time.NewTimer(3 * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
		}
		return "", nil
	})).client(c)
	w := c.validating(client, rule("", "v1", "configmaps", create))
	w.TimeoutSeconds = ptr(int32(1))
	api := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	conf := c.validate(w)
	c.effect("the webhook", configMap("quick", nil), denied)
	_, err := c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, configMap("slow", nil), metav1.CreateOptions{})
	c.refused(err, apierrors.IsInternalError, "/always?timeout=1s")
	c.refused(err, nil, "context deadline exceeded")

	conf.Webhooks[0].FailurePolicy = ptr(admissionregistrationv1.Ignore)
	conf = try(api.Update(c.ctx, conf, metav1.UpdateOptions{})).or(c)
	c.effect("failing open", configMap("slow", nil), admitted)
	conf.Webhooks[0].FailurePolicy, conf.Webhooks[0].TimeoutSeconds = ptr(admissionregistrationv1.Fail), ptr(int32(30))
	conf = try(api.Update(c.ctx, conf, metav1.UpdateOptions{})).or(c)
	c.effect("enough time", configMap("slow", nil), admitted)
	conf.Webhooks[0].TimeoutSeconds = nil
	if conf = try(api.Update(c.ctx, conf, metav1.UpdateOptions{})).or(c); *conf.Webhooks[0].TimeoutSeconds != 10 {
		t.Errorf("timeout is %d by default", *conf.Webhooks[0].TimeoutSeconds)
	}
	conf.Webhooks[0].TimeoutSeconds = ptr(int32(31))
	_, err = api.Update(c.ctx, conf, metav1.UpdateOptions{})
	c.refused(err, apierrors.IsInvalid, "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds")
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents
func TestWebhookDiscovery(t *testing.T) {
	c := begin(t)
	for path, text := range map[string]string{
		"/apis": `"name":"admissionregistration.k8s.io"`, "/apis/admissionregistration.k8s.io": `"groupVersion":"admissionregistration.k8s.io/v1"`,
		"/apis/admissionregistration.k8s.io/v1": `"name":"mutatingwebhookconfigurations"`,
	} {
		c.ok(contains(c, path, asJSON, text))
	}
	c.ok(contains(c, "/apis/admissionregistration.k8s.io/v1", asJSON, `"name":"validatingwebhookconfigurations"`))
}
