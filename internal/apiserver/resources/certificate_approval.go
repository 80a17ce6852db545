package resources

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/certificates"
)

// CertificateApproval is the approval subresource of certificate signing
// requests: it writes conditions and nothing else.
func CertificateApproval() Strategy {
	s := checked(csrStrategy(), nil, certificates.RequestApprovalUpdate)
	s.PrepareForCreate = nil
	s.PrepareForUpdate = onUpdate(func(c, old *certificatesv1.CertificateSigningRequest) {
		c.Spec = old.Spec
		c.Status.Certificate = old.Status.Certificate
		stampConditions(c, old)
	})
	s.ResetFields = [][]string{{"spec"}, {"status", "certificate"}}
	return s
}

// stampConditions completes what clients may leave out of a condition.
func stampConditions(c, old *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now()
	for i := range c.Status.Conditions {
		condition := &c.Status.Conditions[i]
		if condition.LastUpdateTime.IsZero() {
			condition.LastUpdateTime = now
		}
		if !condition.LastTransitionTime.IsZero() {
			continue
		}
		condition.LastTransitionTime = now
		for _, before := range old.Status.Conditions {
			if before.Type == condition.Type && before.Status == condition.Status && !before.LastTransitionTime.IsZero() {
				condition.LastTransitionTime = before.LastTransitionTime
			}
		}
	}
}
