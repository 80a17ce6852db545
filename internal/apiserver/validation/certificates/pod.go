package certificates

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// The lifetimes that a pod may ask for, in seconds.
const (
	leastPodLifetime        = 3600
	mostPodLifetime         = 91 * 24 * 3600
	mostKubernetesLifetime  = 24 * 3600
	mostStubRequest         = 10 * 1024
	mostChain               = 100 * 1024
	kubernetesSignersPrefix = "kubernetes.io/"
)

// PodCertificateRequest checks a new request for a pod's certificate.
func PodCertificateRequest(r *certificatesv1.PodCertificateRequest) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&r.ObjectMeta, rule.Subdomain)}
	path, s := field.NewPath("spec"), &r.Spec
	l.Add(volume.SignerName(s.SignerName, path.Child("signerName"))...)
	l.Subdomain(path.Child("podName"), s.PodName)
	l.Messages(path.Child("serviceAccountName"), s.ServiceAccountName, apivalidation.ValidateServiceAccountName(s.ServiceAccountName, false))
	l.Subdomain(path.Child("nodeName"), string(s.NodeName))
	for _, uid := range []struct{ name, value string }{
		{"podUID", string(s.PodUID)}, {"serviceAccountUID", string(s.ServiceAccountUID)}, {"nodeUID", string(s.NodeUID)},
	} {
		switch at := path.Child(uid.name); {
		case uid.value == "":
			l.Invalid(at, uid.value, "must not be empty")
		case len(uid.value) > 128:
			l.Add(field.TooLong(at, uid.value, 128))
		}
	}
	lifetime(&l, s, path.Child("maxExpirationSeconds"))
	annotations(&l, s.UnverifiedUserAnnotations, path.Child("unverifiedUserAnnotations"))
	at := path.Child("stubPKCS10Request")
	if len(s.StubPKCS10Request) > mostStubRequest {
		l.Add(field.TooLong(at, s.StubPKCS10Request, mostStubRequest))
	} else if fault := stubFault(s.StubPKCS10Request); fault != "" {
		l.Invalid(at, s.StubPKCS10Request, fault)
	}
	return l.Errors
}

func lifetime(l *check.List, s *certificatesv1.PodCertificateRequestSpec, path *field.Path) {
	if s.MaxExpirationSeconds == nil {
		l.Required(path, "must be set")
		return
	}
	most := int32(mostPodLifetime)
	if strings.HasPrefix(s.SignerName, kubernetesSignersPrefix) {
		most = mostKubernetesLifetime
	}
	l.InRange(path, int64(*s.MaxExpirationSeconds), leastPodLifetime, int64(most))
}

// annotations are for the signer: as those of objects, with a domain each.
func annotations(l *check.List, m map[string]string, path *field.Path) {
	l.Add(apivalidation.ValidateAnnotations(m, path)...)
	for _, key := range check.Keys(m) {
		if !strings.Contains(key, "/") {
			l.Invalid(path, key, "must be domain-qualified")
		}
	}
}

// stubFault tells what is wrong with a request made by a node for a key of
// the pod.
func stubFault(der []byte) string {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "failed to parse: " + err.Error()
	}
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return "elliptic public keys must use curve P256 or P384 or P521"
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			return "RSA keys must have modulus size 3072 or 4096"
		}
	default:
		return "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
	}
	if err := request.CheckSignature(); err != nil {
		return "could not verify proof-of-possession signature"
	}
	return ""
}

// PodCertificateRequestUpdate checks a changed request: nothing of it may
// change but metadata.
func PodCertificateRequestUpdate(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	return rule.All(rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta), rule.Immutable(r.Spec, old.Spec, field.NewPath("spec")))
}

// PodCertificateRequestStatusUpdate checks a signer's answer: a certificate or
// a refusal, once.
func PodCertificateRequestStatusUpdate(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("status")
	l.Add(metav1validation.ValidateConditions(r.Status.Conditions, path.Child("conditions"))...)
	now := verdicts(&l, r, path.Child("conditions"))
	if before := verdicts(nil, old, nil); len(before) > 0 {
		l.Add(rule.Immutable(r.Status, old.Status, path)...)
		return l.Errors
	}
	issued := len(now) == 1 && now[0] == certificatesv1.PodCertificateRequestConditionTypeIssued
	times := []struct {
		name string
		at   *metav1.Time
	}{{"notBefore", r.Status.NotBefore}, {"beginRefreshAt", r.Status.BeginRefreshAt}, {"notAfter", r.Status.NotAfter}}
	if !issued {
		const early = "may only be set when the request is issued"
		if r.Status.CertificateChain != "" {
			l.Forbidden(path.Child("certificateChain"), early)
		}
		for _, t := range times {
			if t.at != nil {
				l.Forbidden(path.Child(t.name), early)
			}
		}
		return l.Errors
	}
	missing := false
	for _, t := range times {
		if t.at == nil {
			l.Required(path.Child(t.name), "must be present and consistent with the issued certificate")
			missing = true
		}
	}
	if leaf := chain(&l, r.Status.CertificateChain, path.Child("certificateChain")); leaf != nil && !missing {
		validity(&l, r, leaf, path)
	}
	return l.Errors
}

// verdicts are the final conditions of a request; of them there may be one.
// l is nil for a request that is not checked.
func verdicts(l *check.List, r *certificatesv1.PodCertificateRequest, path *field.Path) []string {
	var found []string
	for i, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
			certificatesv1.PodCertificateRequestConditionTypeFailed:
			found = append(found, c.Type)
			if l != nil && c.Status != metav1.ConditionTrue {
				l.Add(field.NotSupported(path.Index(i).Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
			}
			if l != nil && len(found) > 1 {
				l.Invalid(path.Index(i).Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
			}
		default:
			if l != nil {
				l.Add(field.NotSupported(path.Index(i).Child("type"), c.Type, []string{
					certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
					certificatesv1.PodCertificateRequestConditionTypeFailed}))
			}
		}
	}
	return found
}

// chain checks that text is certificates and returns the first.
func chain(l *check.List, text string, path *field.Path) *x509.Certificate {
	if len(text) > mostChain {
		l.Add(field.TooLong(path, text, mostChain))
		return nil
	}
	var leaf *x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			l.Invalid(path, text, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
			return nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			which := "intermediate"
			if leaf == nil {
				which = "leaf"
			}
			l.Invalid(path, text, which+" certificate does not parse as valid X.509")
			return nil
		}
		if leaf == nil {
			leaf = certificate
		}
	}
	if leaf == nil {
		l.Invalid(path, text, "issued certificate chain must contain at least one certificate")
	}
	return leaf
}

// validity checks that the times are those of the certificate, and that they
// leave time to ask for the next one.
func validity(l *check.List, r *certificatesv1.PodCertificateRequest, leaf *x509.Certificate, path *field.Path) {
	from, refresh, until := r.Status.NotBefore.Time, r.Status.BeginRefreshAt.Time, r.Status.NotAfter.Time
	if !from.Equal(leaf.NotBefore) {
		l.Invalid(path.Child("notBefore"), from, "must be set to the NotBefore time encoded in the leaf certificate")
	}
	if !until.Equal(leaf.NotAfter) {
		l.Invalid(path.Child("notAfter"), until, "must be set to the NotAfter time encoded in the leaf certificate")
	}
	lives := leaf.NotAfter.Sub(leaf.NotBefore)
	if lives < leastPodLifetime*time.Second {
		l.Invalid(path.Child("certificateChain"), lives, "leaf certificate lifetime must be >= 1 hour")
	}
	if most := r.Spec.MaxExpirationSeconds; most != nil && lives > time.Duration(*most)*time.Second {
		l.Invalid(path.Child("certificateChain"), lives, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", *most))
	}
	if refresh.Before(from.Add(10 * time.Minute)) {
		l.Invalid(path.Child("beginRefreshAt"), refresh, "must be at least 10 minutes after status.notBefore")
	}
	if refresh.After(until.Add(-10 * time.Minute)) {
		l.Invalid(path.Child("beginRefreshAt"), refresh, "must be at least 10 minutes before status.notAfter")
	}
}
