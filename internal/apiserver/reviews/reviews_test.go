package reviews_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// grant lets a user edit the default namespace and waits until it is known.
func grant(t *testing.T, s *apitest.Server, user string) {
	t.Helper()
	ctx, admin := t.Context(), s.Clientset()
	_, err := admin.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-edits"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		return subjectMay(t, admin, user, "create", "pods", "default").Allowed, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func subjectMay(t *testing.T, client kubernetes.Interface, user, verb, resource, namespace string) authorizationv1.SubjectAccessReviewStatus {
	t.Helper()
	r, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: resource, Namespace: namespace},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

func TestAccess(t *testing.T) {
	s := apitest.Start(t)
	grant(t, s, "ann")
	ctx, admin, ann := t.Context(), s.Clientset(), s.ClientsetAs("ann")

	if got := subjectMay(t, admin, "ann", "create", "pods", "default"); !strings.Contains(got.Reason, `RoleBinding "ann-edits/default" of ClusterRole "edit" to User "ann"`) {
		t.Errorf("reason is %q", got.Reason)
	}
	if got := subjectMay(t, admin, "ann", "create", "pods", "kube-system"); got.Allowed || got.Denied {
		t.Errorf("elsewhere: %+v", got)
	}
	self, err := ann.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/version", Verb: "get"}},
	}, metav1.CreateOptions{})
	if err != nil || !self.Status.Allowed {
		t.Errorf("ann may read /version: %v", err)
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"},
	}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) < 10 || len(rules.Status.NonResourceRules) == 0 || rules.Status.Incomplete {
		t.Errorf("ann's rules: %+v %v", rules, err)
	}
	_, err = ann.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("ann asks about others: %v", err)
	}
	local := &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}
	local.Spec = authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "default"}}
	if local, err = admin.AuthorizationV1().LocalSubjectAccessReviews("default").Create(ctx, local, metav1.CreateOptions{}); err != nil || !local.Status.Allowed {
		t.Errorf("local: %v", err)
	}
	local.Spec.ResourceAttributes.Namespace, local.ObjectMeta = "other", metav1.ObjectMeta{Namespace: "default"}
	if _, err = admin.AuthorizationV1().LocalSubjectAccessReviews("default").Create(ctx, local, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("local about elsewhere: %v", err)
	}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"nothing": {User: "ann"},
		"both":    {User: "ann", ResourceAttributes: &authorizationv1.ResourceAttributes{}, NonResourceAttributes: &authorizationv1.NonResourceAttributes{}},
		"nobody":  {ResourceAttributes: &authorizationv1.ResourceAttributes{}},
		"selector": {User: "ann", ResourceAttributes: &authorizationv1.ResourceAttributes{
			FieldSelector: &authorizationv1.FieldSelectorAttributes{}}},
	} {
		_, err := admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokens(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	account, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec:       corev1.PodSpec{ServiceAccountName: "robot", NodeName: "one", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	request := func(spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, error) {
		return admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	}
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		r, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	plain, err := request(authenticationv1.TokenRequestSpec{})
	if err != nil {
		t.Fatal(err)
	}
	if *plain.Spec.ExpirationSeconds != 3600 || len(plain.Spec.Audiences) != 1 {
		t.Errorf("defaults are %+v", plain.Spec)
	}
	got := review(plain.Status.Token)
	if !got.Authenticated || got.User.Username != "system:serviceaccount:default:robot" || got.User.UID != string(account.UID) || len(got.Audiences) != 1 {
		t.Errorf("review of a plain token: %+v", got)
	}
	if got := review("nonsense"); got.Authenticated || got.Error == "" {
		t.Errorf("review of nonsense: %+v", got)
	}
	elsewhere, err := request(authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := review(elsewhere.Status.Token); got.Authenticated {
		t.Errorf("a token for vault is taken here: %+v", got)
	}
	if got := review(elsewhere.Status.Token, "vault"); !got.Authenticated {
		t.Errorf("a token for vault is not vault's: %+v", got)
	}

	seconds := int64(3607)
	ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: pod.UID}
	bound, err := request(authenticationv1.TokenRequestSpec{BoundObjectRef: ref, ExpirationSeconds: &seconds})
	if err != nil {
		t.Fatal(err)
	}
	got = review(bound.Status.Token)
	if !got.Authenticated || got.User.Extra["authentication.kubernetes.io/pod-name"][0] != "p" || got.User.Extra["authentication.kubernetes.io/node-name"][0] != "one" {
		t.Errorf("review of a bound token: %+v", got)
	}
	client := tokenClient(t, s, bound.Status.Token)
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || me.Status.UserInfo.Username != "system:serviceaccount:default:robot" {
		t.Errorf("who am I: %+v %v", me, err)
	}

	short := int64(60)
	if _, err := request(authenticationv1.TokenRequestSpec{ExpirationSeconds: &short}); !apierrors.IsInvalid(err) {
		t.Errorf("a minute: %v", err)
	}
	ref.UID = "another"
	if _, err := request(authenticationv1.TokenRequestSpec{BoundObjectRef: ref}); !apierrors.IsConflict(err) {
		t.Errorf("another pod's uid: %v", err)
	}
	ref.Kind = "ConfigMap"
	if _, err := request(authenticationv1.TokenRequestSpec{BoundObjectRef: ref}); !apierrors.IsBadRequest(err) {
		t.Errorf("a config map: %v", err)
	}
	none := int64(0)
	if err := admin.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	other := tokenClient(t, s, bound.Status.Token)
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 60*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := other.Discovery().ServerVersion()
		if err == nil {
			_, err = other.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		}
		return apierrors.IsUnauthorized(err), nil
	})
	if err != nil {
		t.Error("the token outlives its pod")
	}
}

func tokenClient(t *testing.T, s *apitest.Server, token string) kubernetes.Interface {
	t.Helper()
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestKubectl asks as people do.
func TestKubectl(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl here")
	}
	s := apitest.Start(t)
	grant(t, s, "ann")
	config := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(kubeconfig(s.As("ann")), config); err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(t.TempDir(), "admin")
	if err := clientcmd.WriteToFile(kubeconfig(s.Config), admin); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ config, args, want string }{
		{config, "auth can-i create pods", "yes"},
		{config, "auth can-i create pods -n kube-system", "no"},
		{config, "auth can-i get /version", "yes"},
		{config, "auth can-i --list", "selfsubjectaccessreviews.authorization.k8s.io"},
		{config, "auth whoami", "ann"},
		{config, "create token default", "eyJ"},
		{admin, "auth can-i * *", "yes"},
		{admin, "auth can-i delete pods --as bob", "no"},
		{admin, "auth can-i list secrets --as system:node:one --as-group system:nodes", "no"},
		{admin, "auth whoami --as bob --as-group ops", "ops"},
		{admin, "get pods --as bob", "cannot list resource"},
		{admin, "get --raw /.well-known/openid-configuration --as system:serviceaccount:a:b --as-group system:serviceaccounts", "jwks_uri"},
	} {
		args := append([]string{"--kubeconfig", c.config}, strings.Fields(c.args)...)
		out, _ := exec.CommandContext(t.Context(), kubectl, args...).CombinedOutput() // a "no" exits with 1
		if !strings.Contains(string(out), c.want) {
			t.Errorf("kubectl %s: %s, want %q", c.args, out, c.want)
		}
	}
}

func kubeconfig(c *rest.Config) clientcmdapi.Config {
	out := clientcmdapi.NewConfig()
	out.Clusters["x"] = &clientcmdapi.Cluster{Server: c.Host, CertificateAuthorityData: c.CAData}
	out.AuthInfos["x"] = &clientcmdapi.AuthInfo{ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}
	out.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x", Namespace: "default"}
	out.CurrentContext = "x"
	return *out
}
