package controllers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/controllers"
)

// identities starts an environment that signs certificates and tokens. The
// server makes its keys, so that what signs comes later than the options.
func identities(t *testing.T) *env {
	t.Helper()
	return startWith(t, func(e *env, o *controllers.Options) {
		o.Signer = e.server.Keys.Cluster
		o.RootCA = e.server.Keys.Cluster.CertPEM
		o.AccountToken = controlplane.AccountTokens(controlplane.Guard{}, e.server.Keys)
	})
}

// ask makes a certificate signing request as a user.
func ask(e *env, as *rest.Config, signer string, template *x509.CertificateRequest, usages []certificatesv1.KeyUsage, seconds *int32) (*certificatesv1.CertificateSigningRequest, *ecdsa.PrivateKey) {
	e.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		e.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(as)
	if err != nil {
		e.Fatal(err)
	}
	made, err := c.CertificatesV1().CertificateSigningRequests().Create(e.ctx, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "r-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: signer, Usages: usages, ExpirationSeconds: seconds,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		e.Fatal(err)
	}
	return made, key
}

func approve(e *env, r *certificatesv1.CertificateSigningRequest) {
	e.Helper()
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test",
	})
	if err := e.SubResource("approval").Update(e.ctx, r); err != nil {
		e.Fatal(err)
	}
}

// answered waits until a request has its certificate or has failed.
func answered(e *env, r *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequest {
	e.Helper()
	e.eventually("an answer", func() error {
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		for _, c := range r.Status.Conditions {
			if c.Type == certificatesv1.CertificateFailed {
				return nil
			}
		}
		if len(r.Status.Certificate) == 0 {
			return fmt.Errorf("conditions %v", r.Status.Conditions)
		}
		return nil
	})
	return r
}

func clientUsages() []certificatesv1.KeyUsage {
	return []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
}

func TestCertificatesAreSigned(t *testing.T) {
	e := identities(t)
	hour := int32(3600)
	r, key := ask(e, e.server.Config, certificatesv1.KubeAPIServerClientSignerName,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann", Organization: []string{"dev"}}}, clientUsages(), &hour)
	approve(e, r)
	answered(e, r)
	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(cert.NotAfter); left > time.Hour || left < 50*time.Minute {
		t.Errorf("an hour was asked for, the certificate has %s", left)
	}
	// The certificate lets its owner in.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(e.server.Config)
	config.CertData, config.KeyData = r.Status.Certificate, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	ann, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	me, err := ann.AuthenticationV1().SelfSubjectReviews().Create(e.ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || me.Status.UserInfo.Username != "ann" || me.Status.UserInfo.Groups[0] != "dev" {
		t.Errorf("with the certificate I am %+v, %v", me, err)
	}

	// What a signer does not sign fails and says why; others' requests stay.
	r, _ = ask(e, e.server.Config, certificatesv1.KubeAPIServerClientSignerName, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann"}},
		append(clientUsages(), certificatesv1.UsageServerAuth), nil)
	approve(e, r)
	if answered(e, r); len(r.Status.Certificate) > 0 || r.Status.Conditions[1].Reason != "SignerValidationFailure" ||
		r.Status.Conditions[1].Message != "invalid usage for client certificate: server auth" {
		t.Errorf("conditions %+v", r.Status.Conditions)
	}
	r, _ = ask(e, e.server.Config, certificatesv1.KubeletServingSignerName, &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "system:node:one", Organization: []string{"system:nodes"}},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)},
	}, []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}, nil)
	approve(e, r)
	if answered(e, r); len(r.Status.Certificate) == 0 {
		t.Errorf("a node's serving certificate: %+v", r.Status.Conditions)
	}
}

func TestNodesGetTheirClientCertificates(t *testing.T) {
	e := identities(t)
	for _, role := range []string{"nodeclient", "selfnodeclient"} {
		subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:bootstrappers"}
		if role == "selfnodeclient" {
			subject.Name = "system:nodes"
		}
		e.create(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:certificates.k8s.io:certificatesigningrequests:" + role},
			Subjects:   []rbacv1.Subject{subject},
		})
	}
	e.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-bootstrapper"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:bootstrappers"}, {APIGroup: rbacv1.GroupName, Kind: "User", Name: "stranger"}},
	})
	node := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:one", Organization: []string{"system:nodes"}}}
	joining := e.server.As("system:bootstrap:abcdef", "system:bootstrappers")
	e.eventually("the roles are known", func() error {
		c, err := kubernetes.NewForConfig(joining)
		if err == nil {
			_, err = c.CertificatesV1().CertificateSigningRequests().List(e.ctx, metav1.ListOptions{})
		}
		return err
	})
	for name, as := range map[string]*rest.Config{"joining": joining, "renewing": e.server.As("system:node:one", "system:nodes")} {
		r, _ := ask(e, as, certificatesv1.KubeAPIServerClientKubeletSignerName, node, clientUsages(), nil)
		if answered(e, r); len(r.Status.Certificate) == 0 || r.Status.Conditions[0].Reason != "AutoApproved" {
			t.Errorf("%s: %+v", name, r.Status)
		}
	}
	// Nobody approves the request of one who may ask but not have.
	r, _ := ask(e, e.server.As("stranger"), certificatesv1.KubeAPIServerClientKubeletSignerName, node, clientUsages(), nil)
	again, _ := ask(e, joining, certificatesv1.KubeAPIServerClientKubeletSignerName, node, clientUsages(), nil)
	answered(e, again) // by then the first has been looked at
	if get(e, r); len(r.Status.Conditions) > 0 {
		t.Errorf("a stranger's request: %+v", r.Status)
	}
}

func TestAccountTokensInSecrets(t *testing.T) {
	e := identities(t)
	e.eventually("the account", func() error {
		return e.Get(e.ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &corev1.ServiceAccount{})
	})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bot"}}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bot-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "bot"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	e.create(account, secret)
	e.eventually("a token", func() error {
		if get(e, secret); len(secret.Data["token"]) == 0 {
			return errors.New("none")
		}
		return nil
	})
	if string(secret.Data["ca.crt"]) != string(e.server.Keys.Cluster.CertPEM) || string(secret.Data["namespace"]) != "default" ||
		secret.Annotations[corev1.ServiceAccountUIDKey] != string(account.UID) {
		t.Errorf("the secret holds %v, %v", secret.Annotations, secret.Data)
	}
	config := rest.AnonymousClientConfig(e.server.Config)
	config.BearerToken = string(secret.Data["token"])
	bot, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	who := func() error {
		me, err := bot.AuthenticationV1().SelfSubjectReviews().Create(e.ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil && me.Status.UserInfo.Username != "system:serviceaccount:default:bot" {
			err = fmt.Errorf("I am %s", me.Status.UserInfo.Username)
		}
		return err
	}
	if err := who(); err != nil {
		t.Error(err)
	}
	if err := e.Delete(e.ctx, account); err != nil {
		t.Fatal(err)
	}
	e.eventually("the secret goes with its account", func() error {
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(secret), secret); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	e.eventually("the token is worth nothing", func() error {
		if err := who(); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// TestAccountsForgetTokens: an account does not list a token secret that went.
func TestAccountsForgetTokens(t *testing.T) {
	e := identities(t)
	account := &corev1.ServiceAccount{ObjectMeta: meta("bot"), Secrets: []corev1.ObjectReference{{Name: "token"}, {Name: "other"}}}
	secret := &corev1.Secret{ObjectMeta: meta("token"), Type: corev1.SecretTypeServiceAccountToken}
	secret.Annotations = map[string]string{corev1.ServiceAccountNameKey: "bot"}
	e.create(account, secret)
	e.until("a token", func() bool { return len(get(e, secret).Data["token"]) > 0 })
	e.delete(secret, metav1.DeletePropagationBackground)
	e.until("the account knows that it is gone", func() bool {
		list := get(e, account).Secrets
		return len(list) == 1 && list[0].Name == "other"
	})
}

func TestBootstrapTokensSignAndEnd(t *testing.T) {
	e := identities(t)
	token := func(id string, life time.Duration) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{
				"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
				"expiration": time.Now().Add(life).UTC().Format(time.RFC3339),
			},
		}
	}
	e.create(token("abcdef", time.Hour), token("expire", 5*time.Second))
	// Anybody reads cluster-info, and who holds the token knows that it is true.
	nobody, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(e.server.Config))
	if err != nil {
		t.Fatal(err)
	}
	e.eventually("the signature of one token, and no other", func() error {
		info, err := nobody.CoreV1().ConfigMaps("kube-public").Get(e.ctx, "cluster-info", metav1.GetOptions{})
		if err != nil {
			return err
		}
		signature := info.Data["jws-kubeconfig-abcdef"]
		if signature == "" || info.Data["jws-kubeconfig-expire"] != "" {
			return fmt.Errorf("cluster-info has %d entries", len(info.Data))
		}
		head, mac, _ := strings.Cut(signature, "..")
		proof := hmac.New(sha256.New, []byte("abcdef.0123456789abcdef"))
		proof.Write([]byte(head + "." + base64.RawURLEncoding.EncodeToString([]byte(info.Data["kubeconfig"]))))
		if want := base64.RawURLEncoding.EncodeToString(proof.Sum(nil)); mac != want {
			return fmt.Errorf("the signature is %s, want %s", mac, want)
		}
		return nil
	})
	e.eventually("an expired token goes", func() error {
		gone := token("expire", 0)
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

func TestTrustBundleIsPublished(t *testing.T) {
	e := identities(t)
	find := func() (*certificatesv1.ClusterTrustBundle, error) {
		var list certificatesv1.ClusterTrustBundleList
		if err := e.List(e.ctx, &list, client.MatchingFields{"spec.signerName": "kubernetes.io/kube-apiserver-serving"}); err != nil {
			return nil, err
		}
		if len(list.Items) != 1 || list.Items[0].Spec.TrustBundle != string(e.server.Keys.Cluster.CertPEM) {
			return nil, fmt.Errorf("%d bundles", len(list.Items))
		}
		return &list.Items[0], nil
	}
	var bundle *certificatesv1.ClusterTrustBundle
	e.eventually("a bundle", func() (err error) { bundle, err = find(); return err })
	if err := e.Delete(e.ctx, bundle); err != nil {
		t.Fatal(err)
	}
	e.eventually("it comes back", func() error { _, err := find(); return err })
}

// Conformance: [sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace
func TestRootCAIsInEveryNamespace(t *testing.T) {
	e := identities(t)
	e.namespace("somewhere")
	key := client.ObjectKey{Namespace: "somewhere", Name: "kube-root-ca.crt"}
	var last *corev1.ConfigMap
	right := func() error {
		got := &corev1.ConfigMap{}
		if err := e.Get(e.ctx, key, got); err != nil {
			return err
		}
		if len(got.Data) != 1 || got.Data["ca.crt"] != string(e.server.Keys.Cluster.CertPEM) {
			return fmt.Errorf("it holds %v", got.Data)
		}
		last = got
		return nil
	}
	e.eventually("the root CA", right)
	if err := e.Delete(e.ctx, last); err != nil {
		t.Fatal(err)
	}
	deleted := last.UID
	e.eventually("the root CA comes back", func() error {
		if err := right(); err != nil {
			return err
		}
		if last.UID == deleted {
			return errors.New("it is not gone yet")
		}
		return nil
	})
	last.Data = map[string]string{"ca.crt": ""}
	if err := e.Update(e.ctx, last); err != nil {
		t.Fatal(err)
	}
	e.eventually("the root CA is put right", right)
}

func TestUnusedTokens(t *testing.T) {
	token := func(name string, labels map[string]string) *corev1.Secret {
		m := meta(name)
		m.Labels, m.Annotations = labels, map[string]string{corev1.ServiceAccountNameKey: "bot"}
		return &corev1.Secret{ObjectMeta: m, Type: corev1.SecretTypeServiceAccountToken}
	}
	const label = "kubernetes.io/legacy-token-invalid-since"
	later := time.Now().AddDate(3, 0, 0)
	idle, off, byHand := token("idle", nil), token("off", map[string]string{label: later.AddDate(-2, 0, 0).Format(time.DateOnly)}), token("by-hand", nil)
	e := startWith(t, func(e *env, o *controllers.Options) {
		e.create(&corev1.ServiceAccount{ObjectMeta: meta("bot"), Secrets: []corev1.ObjectReference{{Name: "idle"}, {Name: "off"}}}, idle, off, byHand)
		o.Now = func() time.Time { return later }
	})
	e.eventually("shut off", func() error {
		if got := get(e, idle).Labels[label]; got != later.UTC().Format(time.DateOnly) {
			return fmt.Errorf("invalid since %q", got)
		}
		return nil
	})
	e.gone(off)
	if len(get(e, byHand).Labels) != 0 {
		t.Errorf("a secret made by hand was labelled %v", byHand.Labels)
	}
}
