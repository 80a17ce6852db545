// Package certificates decides whether requests for certificates are valid, in
// the field paths and words that Kubernetes uses. Whether a signer signs them
// is not its question. Its functions are pure.
package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// leastLifetime is the shortest that may be asked for.
const leastLifetime = 600

// NoRequest says that the bytes are no request at all.
const NoRequest = "PEM block type must be CERTIFICATE REQUEST"

func anyName(string, bool) []string { return nil }

// Request checks a new certificate signing request.
func Request(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, anyName)}
	path := field.NewPath("spec")
	if err := parse(c.Spec.Request); err != nil {
		l.Invalid(path.Child("request"), c.Spec.Request, fmt.Sprintf("%v", err))
	}
	usages(&l, c.Spec.Usages, path.Child("usages"))
	if c.Spec.SignerName == "kubernetes.io/legacy-unknown" {
		l.Invalid(path.Child("signerName"), c.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		l.Add(volume.SignerName(c.Spec.SignerName, path.Child("signerName"))...)
	}
	if s := c.Spec.ExpirationSeconds; s != nil && *s < leastLifetime {
		l.Invalid(path.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	status(&l, c, nil, field.NewPath("status"))
	return l.Errors
}

func parse(request []byte) error {
	block, rest := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New(NoRequest)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("only one PEM block may be given")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return csr.CheckSignature()
}

func usages(l *check.List, list []certificatesv1.KeyUsage, path *field.Path) {
	if len(list) == 0 {
		l.Required(path, "")
	}
	known := []certificatesv1.KeyUsage{
		certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
		certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
		certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
		certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
		certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
	}
	for i, u := range list {
		if !slices.Contains(known, u) {
			l.Add(field.NotSupported(path.Index(i), u, known))
		}
		if slices.Contains(list[:i], u) {
			l.Duplicate(path.Index(i), u)
		}
	}
}

// status checks verdicts and the certificate; old is nil for a new request.
func status(l *check.List, c, old *certificatesv1.CertificateSigningRequest, path *field.Path) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	unnamed, twice := faults(old)
	for i, condition := range c.Status.Conditions {
		at := path.Child("conditions").Index(i)
		if condition.Type == "" && !unnamed {
			l.Required(at.Child("type"), "")
		}
		verdict := condition.Type == certificatesv1.CertificateApproved || condition.Type == certificatesv1.CertificateDenied || condition.Type == certificatesv1.CertificateFailed
		switch {
		case condition.Status == "":
			l.Required(at.Child("status"), "")
		case verdict && condition.Status != corev1.ConditionTrue:
			l.Add(field.NotSupported(at.Child("status"), condition.Status, []corev1.ConditionStatus{corev1.ConditionTrue}))
		case !verdict:
			check.OneOf(l, at.Child("status"), condition.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
		}
		if seen[condition.Type] && !twice {
			l.Duplicate(at.Child("type"), condition.Type)
		}
		seen[condition.Type] = true
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] && !both(old) {
		const approved, denied = `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`
		l.Invalid(path.Child("conditions"), "{"+approved+", "+denied+"}", "must specify at most one of: `"+approved+"`, `"+denied+"`")
	}
	if old == nil || bytes.Equal(c.Status.Certificate, old.Status.Certificate) || certificate(old.Status.Certificate) != nil {
		return
	}
	if err := certificate(c.Status.Certificate); err != nil {
		l.Invalid(path.Child("certificate"), "<certificate data>", err.Error())
	}
}

// faults are those that conditions of a stored request have and keep.
func faults(c *certificatesv1.CertificateSigningRequest) (unnamed, twice bool) {
	if c == nil {
		return false, false
	}
	for _, condition := range c.Status.Conditions {
		unnamed = unnamed || condition.Type == ""
		twice = twice || len(Conditions(c, condition.Type)) > 1
	}
	return unnamed, twice
}

// both tells whether a request was approved and denied, before that was refused.
func both(c *certificatesv1.CertificateSigningRequest) bool {
	return c != nil && len(Conditions(c, certificatesv1.CertificateApproved)) > 0 && len(Conditions(c, certificatesv1.CertificateDenied)) > 0
}

// certificate tells what is wrong with the chain that a signer gave out.
func certificate(chain []byte) error {
	if len(chain) == 0 {
		return nil
	}
	found := false
	for {
		block, rest := pem.Decode(chain)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) > 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		found, chain = true, rest
	}
	if !found {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// RequestUpdate checks a changed request, of which neither verdicts nor the
// certificate may change.
func RequestUpdate(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	l := changed(c, old)
	settled(&l, c, old)
	if !bytes.Equal(c.Status.Certificate, old.Status.Certificate) {
		l.Forbidden(field.NewPath("status", "certificate"), "updates may not set certificate content")
	}
	return l.Errors
}

// RequestStatusUpdate checks what a signer writes: the certificate, once, and no
// verdict.
func RequestStatusUpdate(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	l := changed(c, old)
	settled(&l, c, old)
	if len(old.Status.Certificate) > 0 && !bytes.Equal(c.Status.Certificate, old.Status.Certificate) {
		l.Forbidden(field.NewPath("status", "certificate"), "updates may not modify existing certificate content")
	}
	return l.Errors
}

// RequestApprovalUpdate checks a verdict: it stays once it is spoken, though its
// reason may be put in other words.
func RequestApprovalUpdate(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return changed(c, old).Errors
}

// changed checks what holds whoever writes.
func changed(c, old *certificatesv1.CertificateSigningRequest) check.List {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(Conditions(c, t)) < len(Conditions(old, t)) {
			l.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", t))
		}
	}
	status(&l, c, old, field.NewPath("status"))
	return l
}

// settled refuses new and changed verdicts.
func settled(l *check.List, c, old *certificatesv1.CertificateSigningRequest) {
	at := field.NewPath("status", "conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		before, now := Conditions(old, t), Conditions(c, t)
		switch {
		case len(now) > len(before):
			l.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", t))
		case len(now) == len(before) && !apiequality.Semantic.DeepEqual(before, now):
			l.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q", t))
		}
	}
}

// Conditions are those of a type.
func Conditions(c *certificatesv1.CertificateSigningRequest, of certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, condition := range c.Status.Conditions {
		if condition.Type == of {
			out = append(out, condition)
		}
	}
	return out
}
