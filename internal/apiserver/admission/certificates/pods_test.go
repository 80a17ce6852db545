package certificates

import (
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestPodSigners(t *testing.T) {
	request := func(signer, chain string) *certificatesv1.PodCertificateRequest {
		r := &certificatesv1.PodCertificateRequest{}
		r.Name, r.Spec.SignerName, r.Status.CertificateChain = "r", signer, chain
		return r
	}
	failed := request("x.io/y", "")
	failed.Status.Conditions = []metav1.Condition{{Type: certificatesv1.PodCertificateRequestConditionTypeDenied}}
	empty := request("x.io/y", "")
	empty.Status.Conditions = []metav1.Condition{}
	const refusal = `spec.signerName: Forbidden: User "u" is not permitted to "sign" for signer "x.io/y"`
	for name, c := range map[string]struct {
		verb, signer string
		obj, old     runtime.Object
		subresource  string
		want         string
	}{
		"sign":                  {"sign", "x.io/y", request("x.io/y", "c"), request("x.io/y", ""), "status", ""},
		"sign by domain":        {"sign", "x.io/*", request("x.io/y", "c"), request("x.io/y", ""), "status", ""},
		"sign another's":        {"sign", "x.io/z", request("x.io/y", "c"), request("x.io/y", ""), "status", refusal},
		"the old signer counts": {"sign", "x.io/z", request("x.io/z", "c"), request("x.io/y", ""), "status", refusal},
		"another verb":          {"approve", "x.io/y", request("x.io/y", "c"), request("x.io/y", ""), "status", refusal},
		"refuse another's":      {"sign", "x.io/z", failed, request("x.io/y", ""), "status", refusal},
		"nothing changes":       {"", "", empty, request("x.io/y", ""), "status", ""},
		"the object itself":     {"", "", request("x.io/y", "c"), request("x.io/y", ""), "", ""},
		"a type unknown":        {"sign", "x.io/y", csr("x.io/y", 1), csr("x.io/y"), "status", "expected type PodCertificateRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			attrs := admission.NewAttributesRecord(c.obj, c.old, certificatesv1.SchemeGroupVersion.WithKind("PodCertificateRequest"), "n", "r",
				certificatesv1.SchemeGroupVersion.WithResource("podcertificaterequests"), c.subresource, admission.Update, nil, false, &user.DefaultInfo{Name: "u"})
			err := NewPodSigning(only(c.verb, c.signer)).Validate(t.Context(), attrs, nil)
			if got := err != nil; got != (c.want != "") || got && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.want == refusal && !apierrors.IsInvalid(err) {
				t.Errorf("%v is no fault of the object", err)
			}
		})
	}
}
