package admission_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// webhook answers admission reviews by f.
func webhook(t *testing.T, f func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = f(review.Request)
		review.Response.UID = review.Request.UID
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	url := server.URL + "/"
	return admissionregistrationv1.WebhookClientConfig{
		URL:      &url,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
}

func configMapRules() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func TestWebhooks(t *testing.T) {
	s := apitest.Start(t)
	ctx, client := t.Context(), s.Clientset()
	none := admissionregistrationv1.SideEffectClassNone
	patch := admissionv1.PatchTypeJSONPatch
	must[*admissionregistrationv1.MutatingWebhookConfiguration](t)(client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "stamps"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "stamps.x.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, Rules: configMapRules(),
			ClientConfig: webhook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &patch, Patch: []byte(`[{"op":"add","path":"/data","value":{"stamp":"yes"}}]`)}
			}),
		}},
	}, metav1.CreateOptions{}))
	must[*admissionregistrationv1.ValidatingWebhookConfiguration](t)(client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "guards"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "guards.x.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, Rules: configMapRules(),
			ClientConfig: webhook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				var c corev1.ConfigMap
				_ = json.Unmarshal(r.Object.Raw, &c)
				return &admissionv1.AdmissionResponse{Allowed: c.Name != "bad" || c.Data["stamp"] == "", Result: &metav1.Status{Message: "no bad stamps"}}
			}),
		}},
	}, metav1.CreateOptions{}))
	poll(t, func(ctx context.Context) (bool, error) {
		c, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
		return err == nil && c.Data["stamp"] == "yes", err
	})
	var err error
	poll(t, func(ctx context.Context) (bool, error) {
		_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return err != nil, nil
	})
	if !strings.Contains(err.Error(), `admission webhook "guards.x.io" denied the request: no bad stamps`) {
		t.Errorf("got %v", err)
	}
}

func TestMutatingPolicies(t *testing.T) {
	s := apitest.Start(t)
	ctx, client := t.Context(), s.Clientset()
	never := admissionregistrationv1.NeverReinvocationPolicy
	must[*admissionregistrationv1.MutatingAdmissionPolicy](t)(client.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"},
		Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
			ReinvocationPolicy: never,
			MatchConstraints:   &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: configMapRules()[0]}}},
			Mutations: []admissionregistrationv1.Mutation{{
				PatchType:          admissionregistrationv1.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistrationv1.ApplyConfiguration{Expression: `Object{metadata: Object.metadata{labels: {"by": "policy"}}}`},
			}},
		},
	}, metav1.CreateOptions{}))
	must[*admissionregistrationv1.MutatingAdmissionPolicyBinding](t)(client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "everywhere"},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "labels"},
	}, metav1.CreateOptions{}))
	var last error
	poll(t, func(ctx context.Context) (bool, error) {
		c, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
		if err != nil {
			if last == nil || last.Error() != err.Error() {
				t.Logf("not yet: %v", err)
			}
			last = err
			return false, nil
		}
		return c.Labels["by"] == "policy", nil
	})
}

// A status error of admission must reach the caller as what it is.
func TestConflictOfUID(t *testing.T) {
	s := apitest.Start(t)
	client := s.Clientset()
	p := create(t, client, pod("p"))
	uid := types.UID("another")
	err := client.CoreV1().Pods("default").Delete(t.Context(), p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v", err)
	}
}
