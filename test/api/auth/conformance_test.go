package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// request is a PEM certificate signing request by a new key.
func request(t *testing.T, name string, groups ...string) []byte {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: groups},
	}, key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// Conformance: [sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations
func TestCertificateSigningRequests(t *testing.T) {
	s := apitest.Start(t)
	ctx, api := t.Context(), s.Clientset().CertificatesV1().CertificateSigningRequests()
	discovered := must[*metav1.APIResourceList](t)(s.Clientset().Discovery().ServerResourcesForGroupVersion("certificates.k8s.io/v1"))
	for _, name := range []string{"certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"} {
		if !slices.ContainsFunc(discovered.APIResources, func(r metav1.APIResource) bool { return r.Name == name }) {
			t.Errorf("%s is not served", name)
		}
	}
	make := func() *certificatesv1.CertificateSigningRequest {
		return &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-example-csr-", Labels: map[string]string{"test": "yes"}},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				Request:    request(t, "e2e-example"),
				SignerName: "example.com/e2e",
				Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageServerAuth},
			},
		}
	}
	one := must[*certificatesv1.CertificateSigningRequest](t)(api.Create(ctx, make(), metav1.CreateOptions{}))
	if one.Spec.Username != "admin" || !slices.Contains(one.Spec.Groups, "system:masters") {
		t.Errorf("the request is of %q in %v", one.Spec.Username, one.Spec.Groups)
	}
	for range 2 {
		must[*certificatesv1.CertificateSigningRequest](t)(api.Create(ctx, make(), metav1.CreateOptions{}))
	}
	got := must[*certificatesv1.CertificateSigningRequest](t)(api.Get(ctx, one.Name, metav1.GetOptions{}))
	if got.UID != one.UID {
		t.Errorf("another uid")
	}
	list := must[*certificatesv1.CertificateSigningRequestList](t)(api.List(ctx, metav1.ListOptions{LabelSelector: "test=yes", FieldSelector: "spec.signerName=example.com/e2e"}))
	if len(list.Items) != 3 {
		t.Errorf("%d requests are listed, want 3", len(list.Items))
	}
	events := must[watch.Interface](t)(api.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "test=yes"}))
	defer events.Stop()
	patched := must[*certificatesv1.CertificateSigningRequest](t)(api.Patch(ctx, one.Name, types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"patched":"true"}}}`), metav1.PatchOptions{}))
	patched.Annotations["updated"] = "true"
	updated := must[*certificatesv1.CertificateSigningRequest](t)(api.Update(ctx, patched, metav1.UpdateOptions{}))
	if updated.Annotations["patched"] != "true" || updated.Annotations["updated"] != "true" {
		t.Errorf("annotations %v", updated.Annotations)
	}
	for seen := false; !seen; {
		select {
		case e := <-events.ResultChan():
			c, ok := e.Object.(*certificatesv1.CertificateSigningRequest)
			if !ok || e.Type != watch.Modified {
				t.Fatalf("got %v of %T", e.Type, e.Object)
			}
			seen = c.Annotations["updated"] == "true"
		case <-ctx.Done():
			t.Fatal("no event")
		}
	}

	patch := func(sub, body string) *certificatesv1.CertificateSigningRequest {
		t.Helper()
		return must[*certificatesv1.CertificateSigningRequest](t)(api.Patch(ctx, one.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub))
	}
	raw := s.Clientset().CertificatesV1().RESTClient()
	for _, sub := range []string{"approval", "status"} {
		got := &certificatesv1.CertificateSigningRequest{}
		if err := raw.Get().Resource("certificatesigningrequests").Name(one.Name).SubResource(sub).Do(ctx).Into(got); err != nil || got.UID != one.UID {
			t.Errorf("get /%s: %v", sub, err)
		}
	}
	approval := patch("approval", `{"metadata":{"annotations":{"patchedapproval":"true"}},"status":{"conditions":[{"type":"ApprovalPatch","status":"True","reason":"e2e"}]}}`)
	if len(approval.Status.Conditions) != 1 || approval.Status.Conditions[0].Type != "ApprovalPatch" || approval.Annotations["patchedapproval"] != "true" {
		t.Errorf("patched approval: %v %v", approval.Annotations, approval.Status.Conditions)
	}
	approval.Status.Conditions = append(approval.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "E2E", Message: "approved by a test",
	})
	approval = must[*certificatesv1.CertificateSigningRequest](t)(api.UpdateApproval(ctx, one.Name, approval, metav1.UpdateOptions{}))
	if len(approval.Status.Conditions) != 2 || approval.Status.Conditions[1].Type != certificatesv1.CertificateApproved {
		t.Errorf("updated approval: %v", approval.Status.Conditions)
	}
	certificate := must[[]byte](t)(json.Marshal(s.Keys.Cluster.CertPEM))
	status := patch("status", `{"metadata":{"annotations":{"patchedstatus":"true"}},"status":{"certificate":`+string(certificate)+`}}`)
	if string(status.Status.Certificate) != string(s.Keys.Cluster.CertPEM) || status.Annotations["patchedstatus"] != "true" {
		t.Errorf("patched status: %v", status.Annotations)
	}
	status.Status.Conditions = append(status.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: "StatusUpdate", Status: corev1.ConditionTrue, Reason: "E2E", Message: "set by a test",
	})
	status = must[*certificatesv1.CertificateSigningRequest](t)(api.UpdateStatus(ctx, status, metav1.UpdateOptions{}))
	if len(status.Status.Conditions) != 3 || status.Status.Conditions[2].Type != "StatusUpdate" {
		t.Errorf("updated status: %v", status.Status.Conditions)
	}

	if err := api.Delete(ctx, one.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, one.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("deleted, but: %v", err)
	}
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=yes"}); err != nil {
		t.Fatal(err)
	}
	if list := must[*certificatesv1.CertificateSigningRequestList](t)(api.List(ctx, metav1.ListOptions{LabelSelector: "test=yes"})); len(list.Items) != 0 {
		t.Errorf("%d are left", len(list.Items))
	}
}

// Conformance: [sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount
func TestLifeOfAServiceAccount(t *testing.T) {
	s := apitest.Start(t)
	ctx, api := t.Context(), s.Clientset().CoreV1().ServiceAccounts(namespace)
	all := s.Clientset().CoreV1().ServiceAccounts("")
	events := must[watch.Interface](t)(api.Watch(ctx, metav1.ListOptions{LabelSelector: "test=life"}))
	defer events.Stop()
	expect := func(want watch.EventType) *corev1.ServiceAccount {
		t.Helper()
		select {
		case e := <-events.ResultChan():
			if e.Type != want {
				t.Fatalf("got %v, want %v", e.Type, want)
			}
			return e.Object.(*corev1.ServiceAccount)
		case <-ctx.Done():
			t.Fatal("no event")
		}
		return nil
	}
	made := must[*corev1.ServiceAccount](t)(api.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "testserviceaccount", Labels: map[string]string{"test": "life"}},
	}, metav1.CreateOptions{}))
	expect(watch.Added)
	must[*corev1.ServiceAccount](t)(api.Patch(ctx, made.Name, types.StrategicMergePatchType, []byte(`{"automountServiceAccountToken":false}`), metav1.PatchOptions{}))
	if a := expect(watch.Modified); a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
		t.Error("the patch is not seen")
	}
	list := must[*corev1.ServiceAccountList](t)(all.List(ctx, metav1.ListOptions{LabelSelector: "test=life"}))
	if len(list.Items) != 1 || list.Items[0].Name != made.Name || list.Items[0].Namespace != namespace {
		t.Errorf("listed in all namespaces: %v", list.Items)
	}
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=life"}); err != nil {
		t.Fatal(err)
	}
	expect(watch.Deleted)
}

// Conformance: [sig-auth] ServiceAccounts should update a ServiceAccount
func TestUpdateOfAServiceAccount(t *testing.T) {
	s := apitest.Start(t)
	ctx, api := t.Context(), s.Clientset().CoreV1().ServiceAccounts(namespace)
	no, yes := false, true
	made := must[*corev1.ServiceAccount](t)(api.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-sa"}, AutomountServiceAccountToken: &no,
	}, metav1.CreateOptions{}))
	made.AutomountServiceAccountToken = &yes
	must[*corev1.ServiceAccount](t)(api.Update(ctx, made, metav1.UpdateOptions{}))
	got := must[*corev1.ServiceAccount](t)(api.Get(ctx, made.Name, metav1.GetOptions{}))
	if got.AutomountServiceAccountToken == nil || !*got.AutomountServiceAccountToken {
		t.Errorf("automount is %v after the update", got.AutomountServiceAccountToken)
	}
}

// Conformance: [sig-auth] ServiceAccounts should allow opting out of API token automount
func TestAutomount(t *testing.T) {
	s := apitest.Start(t)
	ctx, core := t.Context(), s.Clientset().CoreV1()
	yes, no := true, false
	for name, automount := range map[string]*bool{"default-sa": nil, "mount": &yes, "nomount": &no} {
		must[*corev1.ServiceAccount](t)(core.ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Name: name}, AutomountServiceAccountToken: automount,
		}, metav1.CreateOptions{}))
	}
	for _, test := range []struct {
		account string
		pod     *bool
		want    bool
	}{
		{"default-sa", nil, true}, {"default-sa", &yes, true}, {"default-sa", &no, false},
		{"mount", nil, true}, {"mount", &yes, true}, {"mount", &no, false},
		{"nomount", nil, false}, {"nomount", &yes, true}, {"nomount", &no, false},
	} {
		pod := must[*corev1.Pod](t)(core.Pods(namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-service-account-"},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "token-test", Image: "image"}}, RestartPolicy: corev1.RestartPolicyNever,
				ServiceAccountName: test.account, AutomountServiceAccountToken: test.pod,
			},
		}, metav1.CreateOptions{}))
		mounted := slices.ContainsFunc(pod.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
		})
		if mounted != test.want {
			t.Errorf("account %s, pod's automount %v: mounted is %v, want %v", test.account, test.pod, mounted, test.want)
		}
	}
}

// Conformance: [sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview
func TestTokenReview(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	account := must[*corev1.ServiceAccount](t)(admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-sa"},
	}, metav1.CreateOptions{}))
	seconds := int64(3600)
	made := must[*authenticationv1.TokenRequest](t)(admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account.Name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{}))
	review := must[*authenticationv1.TokenReview](t)(admin.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: made.Status.Token}}, metav1.CreateOptions{}))
	if !review.Status.Authenticated || review.Status.Error != "" || review.Status.User.Username != "system:serviceaccount:default:e2e-sa" {
		t.Errorf("review %+v", review.Status)
	}
}

// Conformance: [sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer
func TestIssuerDiscovery(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	made := must[*authenticationv1.TokenRequest](t)(admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"oidc-discovery-test"}}}, metav1.CreateOptions{}))
	reader := must[*authenticationv1.TokenRequest](t)(admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default",
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
	// A service account itself reads the documents, and proves the token by them.
	c := bearer(t, s, reader.Status.Token).CoreV1().RESTClient()
	var discovery struct {
		Issuer     string   `json:"issuer"`
		KeySet     string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := json.Unmarshal(must[[]byte](t)(c.Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)), &discovery); err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(must[[]byte](t)(c.Get().AbsPath("/openid/v1/jwks").DoRaw(ctx)), &set); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(discovery.KeySet, "/openid/v1/jwks") || len(set.Keys) != 1 {
		t.Errorf("discovery %+v, %d keys", discovery, len(set.Keys))
	}
	parsed := must[*jwt.JSONWebToken](t)(jwt.ParseSigned(made.Status.Token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(discovery.Algorithms[0])}))
	var claims jwt.Claims
	if err := parsed.Claims(set.Key(parsed.Headers[0].KeyID)[0], &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != discovery.Issuer || !claims.Audience.Contains("oidc-discovery-test") || claims.Subject != "system:serviceaccount:default:default" {
		t.Errorf("claims %+v of issuer %s", claims, discovery.Issuer)
	}
	// Strangers do not.
	if _, err := client(t, rest.AnonymousClientConfig(s.Config)).CoreV1().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(ctx); !apierrors.IsForbidden(err) {
		t.Errorf("anonymous reads the keys: %v", err)
	}
}

// Conformance: [sig-auth] SubjectReview should support SubjectReview API operations
func TestSubjectReviews(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	const user = "system:serviceaccount:default:e2e"
	must[*corev1.ServiceAccount](t)(admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "e2e"}}, metav1.CreateOptions{}))
	list := &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", Version: "v1", Namespace: namespace}
	ask := func() (subject, self, local bool) {
		a := admin.AuthorizationV1()
		sar := must[*authorizationv1.SubjectAccessReview](t)(a.SubjectAccessReviews().Create(ctx,
			&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: list}}, metav1.CreateOptions{}))
		lsar := must[*authorizationv1.LocalSubjectAccessReview](t)(a.LocalSubjectAccessReviews(namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
			Spec:       authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: list},
		}, metav1.CreateOptions{}))
		as := rest.CopyConfig(s.Config)
		as.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
		ssar := must[*authorizationv1.SelfSubjectAccessReview](t)(client(t, as).AuthorizationV1().SelfSubjectAccessReviews().Create(ctx,
			&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: list}}, metav1.CreateOptions{}))
		return sar.Status.Allowed, ssar.Status.Allowed, lsar.Status.Allowed
	}
	if a, b, c := ask(); a || b || c {
		t.Errorf("without a role: %v %v %v", a, b, c)
	}
	allow(t, s, user, rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}})
	eventually(t, func() error {
		if a, b, c := ask(); !a || !b || !c {
			return fmt.Errorf("with a role: %v %v %v", a, b, c)
		}
		return nil
	})
	as := rest.CopyConfig(s.Config)
	as.Impersonate = rest.ImpersonationConfig{UserName: user}
	must[*corev1.PodList](t)(client(t, as).CoreV1().Pods(namespace).List(context.WithoutCancel(ctx), metav1.ListOptions{}))
	rules := must[*authorizationv1.SelfSubjectRulesReview](t)(client(t, as).AuthorizationV1().SelfSubjectRulesReviews().Create(ctx,
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{}))
	if !slices.ContainsFunc(rules.Status.ResourceRules, func(r authorizationv1.ResourceRule) bool {
		return slices.Equal(r.Verbs, []string{"list"}) && slices.Equal(r.Resources, []string{"pods"})
	}) {
		t.Errorf("rules %+v", rules.Status)
	}
}
