package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
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
	leastPodLifetime       = 3600
	mostPodLifetime        = 91 * 24 * 3600
	mostKubernetesLifetime = 24 * 3600
	mostStubRequest        = 10 * 1024
	mostChain              = 100 * 1024
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
	l.Add(volume.UserAnnotations(s.UnverifiedUserAnnotations, path.Child("unverifiedUserAnnotations"))...)
	if s.MaxExpirationSeconds == nil {
		return l.Errors
	}
	if len(s.StubPKCS10Request) == 0 {
		// Versions before this one had fields for the other way.
		l.Invalid(path, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")
		return l.Errors
	}
	stubRequest(&l, s.StubPKCS10Request, path.Child("stubPKCS10Request"))
	return l.Errors
}

func lifetime(l *check.List, s *certificatesv1.PodCertificateRequestSpec, path *field.Path) {
	if s.MaxExpirationSeconds == nil {
		l.Required(path, "must be set")
		return
	}
	most := int32(mostPodLifetime)
	if volume.KubernetesSigner(s.SignerName) {
		most = mostKubernetesLifetime
	}
	if *s.MaxExpirationSeconds < leastPodLifetime || *s.MaxExpirationSeconds > most {
		l.Invalid(path, *s.MaxExpirationSeconds, fmt.Sprintf("must be in the range [%d, %d]", leastPodLifetime, most))
	}
}

// stubRequest checks a request made by a node for a key of the pod.
func stubRequest(l *check.List, der []byte, path *field.Path) {
	if len(der) > mostStubRequest {
		l.Add(field.TooLong(path, der, mostStubRequest))
		return
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		l.Invalid(path, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
		return
	}
	switch key := request.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			l.Invalid(path, "curve "+key.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521")
			return
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			l.Invalid(path, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")
			return
		}
	default:
		l.Invalid(path, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")
		return
	}
	if err := request.CheckSignature(); err != nil {
		l.Invalid(path, field.OmitValueType{}, "invalid signature")
	}
}

// PodCertificateRequestUpdate checks a changed request: nothing of it may
// change but metadata.
func PodCertificateRequestUpdate(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	return rule.All(rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta), rule.Immutable(r.Spec, old.Spec, field.NewPath("spec")))
}

// PodCertificateRequestStatusUpdate checks a signer's answer at a time: a
// certificate or a refusal, once. What is wrong is told one thing after the
// other, as each check needs what those before it have established.
func PodCertificateRequestStatusUpdate(r, old *certificatesv1.PodCertificateRequest, now time.Time) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta)}
	if len(l.Errors) > 0 {
		return l.Errors
	}
	path := field.NewPath("status")
	verdict := verdicts(&l, r)
	l.Add(metav1validation.ValidateConditions(r.Status.Conditions, path.Child("conditions"))...)
	if len(l.Errors) > 0 {
		return l.Errors
	}
	switch before := verdicts(&check.List{}, old); {
	case before != "":
		unchanged(&l, r.Status, old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	case verdict == certificatesv1.PodCertificateRequestConditionTypeIssued:
		issued(&l, r, old, now)
	case verdict != "":
		bare := certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions}
		unchanged(&l, r.Status, bare, "non-condition status fields must be empty when denying or failing the PodCertificateRequest")
	default:
		unchanged(&l, r.Status, old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	}
	return l.Errors
}

func unchanged(l *check.List, s, old certificatesv1.PodCertificateRequestStatus, detail string) {
	if !apiequality.Semantic.DeepEqual(s, old) {
		l.Invalid(field.NewPath("status"), field.OmitValueType{}, detail)
	}
}

// issued checks a certificate that a signer gives out.
func issued(l *check.List, r, old *certificatesv1.PodCertificateRequest, now time.Time) {
	path := field.NewPath("status")
	at, text := path.Child("certificateChain"), r.Status.CertificateChain
	leaf, rest := leafOf(l, text, at)
	if leaf == nil {
		return
	}
	names(l, leaf, at)
	wanted, fault := requestedKey(&old.Spec)
	if fault != nil {
		l.Add(fault)
		return
	}
	if !wanted.Equal(leaf.PublicKey) {
		l.Invalid(at, text, "leaf certificate was not issued to the requested public key")
		return
	}
	const consistent = "must be present and consistent with the issued certificate"
	before := len(l.Errors)
	if r.Status.NotBefore == nil {
		l.Required(path.Child("notBefore"), consistent)
	}
	if r.Status.NotAfter == nil {
		l.Required(path.Child("notAfter"), consistent)
	}
	if r.Status.BeginRefreshAt == nil {
		l.Required(path.Child("beginRefreshAt"), "must be present and in the range [notbefore+10min, notafter-10min]")
	}
	if len(l.Errors) == before && validity(l, r, leaf, now) {
		intermediates(l, text, rest, at)
	}
}

// requestedKey is the key that a request is for.
func requestedKey(s *certificatesv1.PodCertificateRequestSpec) (interface{ Equal(crypto.PublicKey) bool }, *field.Error) {
	path := field.NewPath("spec")
	request, err := x509.ParseCertificateRequest(s.StubPKCS10Request)
	if err != nil {
		return nil, field.Invalid(path.Child("stubPKCS10Request"), field.OmitValueType{}, "must be a valid PKCS#10 CSR")
	}
	key, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, field.InternalError(path, fmt.Errorf("a key of type %T was accepted", request.PublicKey))
	}
	return key, nil
}

// verdicts notes what is wrong with the conditions of a request, of which there
// may be one, and returns the last that is true.
func verdicts(l *check.List, r *certificatesv1.PodCertificateRequest) string {
	found, last := 0, ""
	for i, c := range r.Status.Conditions {
		at := field.NewPath("status", "conditions", fmt.Sprintf("[%d]", i)) // upstream's path, with the dot
		switch c.Type {
		case certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
			certificatesv1.PodCertificateRequestConditionTypeFailed:
			if found++; found > 1 {
				l.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`)
			}
			if c.Status == metav1.ConditionTrue {
				last = c.Type
			} else {
				l.Add(field.NotSupported(at.Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
			}
		default:
			l.Add(field.NotSupported(at.Child("type"), c.Type, []string{
				certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
				certificatesv1.PodCertificateRequestConditionTypeFailed}))
		}
	}
	return last
}

// leafOf returns the first certificate of a chain, and what follows it.
func leafOf(l *check.List, text string, path *field.Path) (*x509.Certificate, []byte) {
	if len(text) > mostChain {
		l.Add(field.TooLong(path, text, mostChain))
		return nil, nil
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		l.Invalid(path, text, "issued certificate chain must contain at least one certificate")
		return nil, nil
	case block.Type != "CERTIFICATE":
		l.Invalid(path, text, "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
		return nil, nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		l.Invalid(path, text, "leaf certificate does not parse as valid X.509")
		return nil, nil
	}
	return leaf, rest
}

// names notes names in a certificate that name nobody.
func names(l *check.List, leaf *x509.Certificate, path *field.Path) {
	for _, name := range leaf.DNSNames {
		if name == "" {
			l.Invalid(path, name, "leaf certificate should not contain empty DNSName")
		}
		if strings.Contains(name, "..") {
			l.Invalid(path, name, "leaf certificate's DNSName should not contain '..'")
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			l.Invalid(path, name, "leaf certificate's DNSName should not start or end with '.'")
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			l.Invalid(path, address, "leaf certificate should not contain invalid EmailAddress")
		}
	}
}

func intermediates(l *check.List, text string, rest []byte, path *field.Path) {
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		if block.Type != "CERTIFICATE" {
			l.Invalid(path, text, "issued certificate chain must consist entirely of CERTFICATE PEM blocks") // so upstream spells it
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			l.Invalid(path, text, "intermediate certificate does not parse as valid X.509")
			return
		}
	}
}

// validity checks that the times are those of the certificate and of now, and
// that they leave time to ask for the next one.
func validity(l *check.List, r *certificatesv1.PodCertificateRequest, leaf *x509.Certificate, now time.Time) bool {
	const skew, margin = 5 * time.Minute, 10 * time.Minute
	path := field.NewPath("status")
	from, refresh, until := r.Status.NotBefore.Time, r.Status.BeginRefreshAt.Time, r.Status.NotAfter.Time
	lives := leaf.NotAfter.Sub(leaf.NotBefore)
	switch most := r.Spec.MaxExpirationSeconds; {
	case !from.Equal(leaf.NotBefore):
		l.Invalid(path.Child("notBefore"), from, "must be set to the NotBefore time encoded in the leaf certificate")
	case !from.After(now.Add(-skew)) || !from.Before(now.Add(skew)):
		l.Invalid(path.Child("notBefore"), from, "must be set to within 5 minutes of kube-apiserver's current time")
	case !until.Equal(leaf.NotAfter):
		l.Invalid(path.Child("notAfter"), until, "must be set to the NotAfter time encoded in the leaf certificate")
	case lives < leastPodLifetime*time.Second:
		l.Invalid(path.Child("certificateChain"), lives, "leaf certificate lifetime must be >= 1 hour")
	case most != nil && lives > time.Duration(*most)*time.Second:
		l.Invalid(path.Child("certificateChain"), lives, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", *most))
	case refresh.Before(from.Add(margin)):
		l.Invalid(path.Child("beginRefreshAt"), refresh, "must be at least 10 minutes after status.notBefore")
	case refresh.After(until.Add(-margin)):
		l.Invalid(path.Child("beginRefreshAt"), refresh, "must be at least 10 minutes before status.notAfter")
	default:
		return true
	}
	return false
}
