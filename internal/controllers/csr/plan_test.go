package csr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func ask(t testing.TB, signer string, template x509.CertificateRequest, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Usages: usages, Username: template.Subject.CommonName,
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		},
	}
}

func nodeRequest() x509.CertificateRequest {
	return x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:one", Organization: []string{"system:nodes"}}}
}

func TestPlan(t *testing.T) {
	const (
		digital, encipher = certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment
		asClient, server  = certificatesv1.UsageClientAuth, certificatesv1.UsageServerAuth
		clients, kubelets = certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName
		serving, legacy   = certificatesv1.KubeletServingSignerName, "kubernetes.io/legacy-unknown"
	)
	named := nodeRequest()
	named.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)}
	mail := named
	mail.EmailAddresses = []string{"a@example.com"}
	person := x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann"}}
	stranger := x509.CertificateRequest{Subject: pkix.Name{CommonName: "ann", Organization: []string{"system:nodes"}}}
	for name, test := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		err     string
	}{
		"client":                    {ask(t, clients, person, asClient, digital), ""},
		"client that serves":        {ask(t, clients, person, asClient, server), "invalid usage for client certificate: server auth"},
		"client that is none":       {ask(t, clients, person, digital), "missing required usage for client certificate: client auth"},
		"kubelet":                   {ask(t, kubelets, nodeRequest(), digital, encipher, asClient), ""},
		"kubelet with a name":       {ask(t, kubelets, named, digital, asClient), "IP subjectAltNames are not allowed"},
		"kubelet of no node":        {ask(t, kubelets, person, digital, asClient), "subject organization is not system:nodes"},
		"kubelet with another name": {ask(t, kubelets, stranger, digital, asClient), "subject common name does not begin with system:node:"},
		"kubelet without signature": {ask(t, kubelets, nodeRequest(), asClient), "usages did not match [digital signature key encipherment client auth]"},
		"serving":                   {ask(t, serving, named, digital, server), ""},
		"serving without a name":    {ask(t, serving, nodeRequest(), digital, server), "DNS or IP subjectAltName is required"},
		"serving with mail":         {ask(t, serving, mail, digital, server), "email subjectAltNames are not allowed"},
		"legacy":                    {ask(t, legacy, person, certificatesv1.UsageCodeSigning), ""},
		"unknown usage":             {ask(t, legacy, person, "juggling"), `unrecognized usage value: "juggling"`},
	} {
		_, ours, err := plan(test.request, now)
		if !ours || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: ours is %v, error %v, want %q", name, ours, err, test.err)
		}
	}
	if _, ours, _ := plan(ask(t, "example.com/signer", person, digital), now); ours {
		t.Error("another's request is signed")
	}
}

func TestLives(t *testing.T) {
	r := ask(t, "kubernetes.io/legacy-unknown", nodeRequest(), certificatesv1.UsageAny)
	for _, test := range []struct {
		seconds *int32
		until   time.Time
	}{
		{nil, now.Add(longest - backdate)},
		{ptr(60), now.Add(shortest)},
		{ptr(3600), now.Add(time.Hour)},
		{ptr(24 * 3600), now.Add(24*time.Hour - backdate)},
		{ptr(800 * 24 * 3600), now.Add(longest - backdate)},
	} {
		r.Spec.ExpirationSeconds = test.seconds
		got, _, err := plan(r, now)
		if err != nil || !got.notAfter.Equal(test.until) {
			t.Errorf("%v seconds: until %s, want %s (%v)", test.seconds, got.notAfter, test.until, err)
		}
	}
}

func ptr(n int32) *int32 { return &n }

func TestRemoveAt(t *testing.T) {
	r := ask(t, "example.com/signer", nodeRequest(), certificatesv1.UsageAny)
	at := func(d time.Duration) {
		t.Helper()
		if got := removeAt(r); !got.Equal(now.Add(d)) {
			t.Errorf("removed after %s, want %s", got.Sub(now), d)
		}
	}
	at(24 * time.Hour)
	const late = 23*time.Hour + 59*time.Minute
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(now.Add(late)),
	}}
	at(late + 24*time.Hour) // nobody has signed it yet
	r.Status.Certificate = []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
	at(late + time.Hour)
	for _, kind := range []certificatesv1.RequestConditionType{certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		r.Status.Conditions[0].Type, r.Status.Certificate = kind, nil
		at(late + time.Hour)
	}
	for _, c := range []certificatesv1.CertificateSigningRequestCondition{
		{Type: certificatesv1.CertificateDenied}, {Type: "example.com/Looked", LastUpdateTime: metav1.NewTime(now)},
	} {
		r.Status.Conditions[0] = c
		if got := removeAt(r); !got.IsZero() {
			t.Errorf("with condition %v: removed at %s, want never", c, got)
		}
	}
}

func TestApprovable(t *testing.T) {
	own := ask(t, certificatesv1.KubeAPIServerClientKubeletSignerName, nodeRequest(), certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth)
	if got := approvable(own); len(got) != 2 || got[0].subresource != "selfnodeclient" {
		t.Errorf("a node for itself: %v", got)
	}
	own.Spec.Username = "system:bootstrap:abcdef"
	if got := approvable(own); len(got) != 1 || got[0].subresource != "nodeclient" {
		t.Errorf("a token for a node: %v", got)
	}
	own.Spec.SignerName = certificatesv1.KubeAPIServerClientSignerName
	if got := approvable(own); got != nil {
		t.Errorf("another signer: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ask(f, "s", nodeRequest()).Spec.Request)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: data, SignerName: certificatesv1.KubeletServingSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth},
		}}
		_, _, _ = plan(r, now)
		approvable(r)
	})
}
