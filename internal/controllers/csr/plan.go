package csr

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/pki"
)

// Lives of certificates. Who asks for less gets less, but not less than a
// certificate needs to be renewed in time.
const (
	longest  = 365 * 24 * time.Hour
	shortest = 10 * time.Minute
	// backdate covers clocks that differ; short lives are not shortened by it.
	backdate = 5 * time.Minute
	short    = 8 * time.Hour
)

// template is what an approved request asks the authority to sign.
type template struct {
	request             *x509.CertificateRequest
	use                 x509.KeyUsage
	extended            []x509.ExtKeyUsage
	notBefore, notAfter time.Time
}

// pending says whether a request waits for its certificate.
func pending(r *certificatesv1.CertificateSigningRequest) bool {
	return len(r.Status.Certificate) == 0 && is(r, certificatesv1.CertificateApproved) &&
		!is(r, certificatesv1.CertificateDenied) && !is(r, certificatesv1.CertificateFailed)
}

func is(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == kind && c.Status != corev1.ConditionFalse
	})
}

// plan says what to sign at now. ours is false for requests to other signers;
// an error is the request's own fault, and final.
func plan(r *certificatesv1.CertificateSigningRequest, now time.Time) (t template, ours bool, err error) {
	check, ours := signers()[r.Spec.SignerName]
	if !ours {
		return t, false, nil
	}
	if t.request, err = pki.ParseRequest(r.Spec.Request); err != nil {
		return t, true, err
	}
	if check != nil {
		if err := check(t.request, r.Spec.Usages); err != nil {
			return t, true, err
		}
	}
	for _, u := range r.Spec.Usages {
		if use, ok := keyUsages()[u]; ok {
			t.use |= use
		} else if extended, ok := extendedUsages()[u]; ok {
			t.extended = append(t.extended, extended)
		} else {
			return t, true, fmt.Errorf("unrecognized usage value: %q", u)
		}
	}
	life := longest
	if s := r.Spec.ExpirationSeconds; s != nil {
		life = min(longest, max(shortest, time.Duration(*s)*time.Second))
	}
	t.notBefore = now.Add(-backdate)
	t.notAfter = t.notBefore.Add(life)
	if life <= short {
		t.notAfter = now.Add(life)
	}
	return t, true, nil
}

// signers are those of every cluster, with what each demands of a request.
func signers() map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error {
	return map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
		certificatesv1.KubeAPIServerClientSignerName:        checkClient,
		certificatesv1.KubeAPIServerClientKubeletSignerName: checkNodeClient,
		certificatesv1.KubeletServingSignerName:             checkNodeServing,
		"kubernetes.io/legacy-unknown":                      nil,
	}
}

func checkClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	client := false
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			client = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !client {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

// checkNode checks what every certificate of a node has to be like.
func checkNode(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	switch {
	case len(r.EmailAddresses) > 0:
		return errors.New("email subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if !slices.Equal(r.Subject.Organization, []string{"system:nodes"}) {
		return errors.New("subject organization is not system:nodes")
	}
	if !strings.HasPrefix(r.Subject.CommonName, "system:node:") {
		//lint:ignore ST1005 a user name ends so
		return errors.New("subject common name does not begin with system:node:")
	}
	return exactly(usages, purpose)
}

func checkNodeClient(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	}
	return checkNode(r, usages, certificatesv1.UsageClientAuth)
}

func checkNodeServing(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if len(r.DNSNames)+len(r.IPAddresses) == 0 {
		return errors.New("DNS or IP subjectAltName is required")
	}
	return checkNode(r, usages, certificatesv1.UsageServerAuth)
}

// exactly allows what a key of either kind needs: keys that cannot encipher do
// not ask for it.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	want := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, purpose}
	for _, u := range usages {
		if !slices.Contains(want, u) {
			return fmt.Errorf("usages did not match %v", want)
		}
	}
	for _, u := range []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, purpose} {
		if !slices.Contains(usages, u) {
			return fmt.Errorf("usages did not match %v", want)
		}
	}
	return nil
}

func keyUsages() map[certificatesv1.KeyUsage]x509.KeyUsage {
	return map[certificatesv1.KeyUsage]x509.KeyUsage{
		certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
		certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
		certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
		certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
		certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
		certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
		certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
		certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
		certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
	}
}

func extendedUsages() map[certificatesv1.KeyUsage]x509.ExtKeyUsage {
	return map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
		certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
		certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
		certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
		certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
		certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
		certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
		certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
		certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
		certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
		certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
		certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
		certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
		certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
	}
}

// permission is what a requester needs so that its request is approved.
type permission struct{ subresource, message string }

// approvable returns by which permissions a request may be approved without
// anybody looking: those of a node that asks for its own client certificate.
func approvable(r *certificatesv1.CertificateSigningRequest) []permission {
	if len(r.Status.Certificate) > 0 || is(r, certificatesv1.CertificateApproved) || is(r, certificatesv1.CertificateDenied) {
		return nil
	}
	request, err := pki.ParseRequest(r.Spec.Request)
	if err != nil || r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || checkNodeClient(request, r.Spec.Usages) != nil {
		return nil
	}
	var out []permission
	if r.Spec.Username == request.Subject.CommonName {
		out = append(out, permission{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."})
	}
	return append(out, permission{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."})
}

// How long requests stay to be looked at, as upstream's cleaner keeps them.
const (
	keepPending  = 24 * time.Hour // from when it was made, or approved and not yet signed
	keepAnswered = time.Hour
)

// removeAt says when a request has had its time; the zero time is never. What counts is
// its answer: one that was approved late is not removed before its certificate can be
// fetched.
func removeAt(r *certificatesv1.CertificateSigningRequest) (at time.Time) {
	end := func(from metav1.Time, keep time.Duration) {
		if t := from.Add(keep); !from.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(r.Status.Conditions) == 0 {
		end(r.CreationTimestamp, keepPending)
	}
	signed := len(r.Status.Certificate) > 0
	for _, c := range r.Status.Conditions {
		switch {
		case c.Type == certificatesv1.CertificateApproved && !signed:
			end(c.LastUpdateTime, keepPending)
		case c.Type == certificatesv1.CertificateApproved, c.Type == certificatesv1.CertificateDenied, c.Type == certificatesv1.CertificateFailed:
			end(c.LastUpdateTime, keepAnswered)
		}
	}
	if block, _ := pem.Decode(r.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			end(metav1.NewTime(cert.NotAfter), 0)
		}
	}
	return at
}
