package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// only allows one verb on one signer.
func only(verb, signer string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetVerb() == verb && a.GetName() == signer && a.GetResource() == "signers" && a.GetAPIGroup() == "certificates.k8s.io" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

func update(sub string, obj, old *certificatesv1.CertificateSigningRequest) admission.Attributes {
	gvr := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	return admission.NewAttributesRecord(obj, old, schema.GroupVersionKind{}, "", "csr", gvr, sub, admission.Update, nil, false, &user.DefaultInfo{Name: "u"})
}

func csr(signer string, certificate ...byte) *certificatesv1.CertificateSigningRequest {
	c := &certificatesv1.CertificateSigningRequest{}
	c.Spec.SignerName, c.Status.Certificate = signer, certificate
	return c
}

func TestSigners(t *testing.T) {
	for name, c := range map[string]struct {
		check *Signing
		attrs admission.Attributes
		allow bool
	}{
		"approve":               {NewApproval(only("approve", "x.io/y")), update("approval", csr("x.io/y"), csr("x.io/y")), true},
		"approve by domain":     {NewApproval(only("approve", "x.io/*")), update("approval", csr("x.io/y"), csr("x.io/y")), true},
		"approve another's":     {NewApproval(only("approve", "x.io/z")), update("approval", csr("x.io/y"), csr("x.io/y")), false},
		"approve with sign":     {NewApproval(only("sign", "x.io/y")), update("approval", csr("x.io/y"), csr("x.io/y")), false},
		"the old signer counts": {NewApproval(only("approve", "x.io/y")), update("approval", csr("x.io/y"), csr("x.io/z")), false},
		"sign":                  {NewSigning(only("sign", "x.io/y")), update("status", csr("x.io/y", 1), csr("x.io/y")), true},
		"sign another's":        {NewSigning(only("sign", "x.io/z")), update("status", csr("x.io/y", 1), csr("x.io/y")), false},
		"status without cert":   {NewSigning(only("", "")), update("status", csr("x.io/y"), csr("x.io/y")), true},
		"the object itself":     {NewApproval(only("", "")), update("", csr("x.io/y"), csr("x.io/y")), true},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.check.Validate(context.Background(), c.attrs, nil)
			if (err == nil) != c.allow {
				t.Errorf("got %v, want allowed %v", err, c.allow)
			}
		})
	}
}

func TestNobodyAsksToBeMaster(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(signer string, groups ...string) error {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "u", Organization: groups}}, key)
		if err != nil {
			t.Fatal(err)
		}
		c := csr(signer)
		c.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		gvr := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
		return NewSubject().Validate(context.Background(), admission.NewAttributesRecord(c, nil, schema.GroupVersionKind{}, "", "csr", gvr, "", admission.Create, nil, false, &user.DefaultInfo{}), nil)
	}
	if err := ask(certificatesv1.KubeAPIServerClientSignerName, "devs"); err != nil {
		t.Error(err)
	}
	if err := ask(certificatesv1.KubeAPIServerClientSignerName, "devs", "system:masters"); err == nil || !strings.Contains(err.Error(), "system:masters group is not allowed") {
		t.Errorf("got %v", err)
	}
	if err := ask("x.io/y", "system:masters"); err != nil {
		t.Errorf("another signer knows itself: %v", err)
	}
}
