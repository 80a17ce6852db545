package resources

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Certificates returns the rows of the group certificates.k8s.io.
func Certificates() []Resource {
	return []Resource{certificateSigningRequests(), clusterTrustBundles(), podCertificateRequests()}
}

func certificateSigningRequests() Resource {
	r := row[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](
		certificatesv1.SchemeGroupVersion, "CertificateSigningRequest", "certificatesigningrequests", "csr")
	r.ClusterScoped = true
	// Clients are told what the columns are in the words of the older version.
	older := certificatesv1beta1.CertificateSigningRequestSpec{}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		ageColumn(),
		docColumn("SignerName", "string", older, "signerName"),
		docColumn("Requestor", "string", older, "request"),
		docColumn("RequestedDuration", "string", older, "expirationSeconds"),
		docColumn("Condition", "string", certificatesv1beta1.CertificateSigningRequestStatus{}, "conditions"),
	}
	r.Cells = cells(func(c *certificatesv1.CertificateSigningRequest) []any {
		signer, requested := c.Spec.SignerName, "<none>"
		if signer == "" {
			signer = "<none>"
		}
		if s := c.Spec.ExpirationSeconds; s != nil {
			requested = duration.HumanDuration(time.Duration(*s) * time.Second)
		}
		return []any{c.Name, since(c.CreationTimestamp), signer, c.Spec.Username, requested, csrState(c)}
	})
	r.SelectableFields = selectable(func(c *certificatesv1.CertificateSigningRequest) fields.Set {
		return fields.Set{"spec.signerName": c.Spec.SignerName}
	})
	r.Strategy = csrStrategy()
	r.Status = csrStatusStrategy()
	return r
}

func csrState(c *certificatesv1.CertificateSigningRequest) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, condition := range c.Status.Conditions {
		has[condition.Type] = true
	}
	state := "Pending"
	switch {
	case has[certificatesv1.CertificateDenied]:
		state = "Denied"
	case has[certificatesv1.CertificateApproved]:
		state = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		state += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}

func clusterTrustBundles() Resource {
	r := row[certificatesv1.ClusterTrustBundle, certificatesv1.ClusterTrustBundleList](
		certificatesv1.SchemeGroupVersion, "ClusterTrustBundle", "clustertrustbundles")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("SignerName", "string", certificatesv1.ClusterTrustBundleSpec{}, "signerName"),
	}
	r.Cells = cells(func(b *certificatesv1.ClusterTrustBundle) []any {
		signer := b.Spec.SignerName
		if signer == "" {
			signer = "<none>"
		}
		return []any{b.Name, signer}
	})
	r.SelectableFields = selectable(func(b *certificatesv1.ClusterTrustBundle) fields.Set {
		return fields.Set{"spec.signerName": b.Spec.SignerName}
	})
	r.Previews = previews(certificatesv1.GroupName, "v1beta1")
	r.Strategy = clusterTrustBundleStrategy()
	return r
}

func podCertificateRequests() Resource {
	r := row[certificatesv1.PodCertificateRequest, certificatesv1.PodCertificateRequestList](
		certificatesv1.SchemeGroupVersion, "PodCertificateRequest", "podcertificaterequests")
	spec := certificatesv1.PodCertificateRequestSpec{}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("PodName", "string", spec, "podName"),
		docColumn("ServiceAccountName", "string", spec, "serviceAccountName"),
		docColumn("NodeName", "string", spec, "nodeName"),
		docColumn("SignerName", "string", spec, "signerName"),
		column("State", "string", "Is the request Pending, Issued, Denied, or Failed?"),
		docColumn("UnverifiedUserAnnotations", "string", spec, "unverifiedUserAnnotations"),
	}
	r.Cells = cells(func(p *certificatesv1.PodCertificateRequest) []any {
		state := "Pending"
		for _, c := range p.Status.Conditions {
			switch c.Type {
			case certificatesv1.PodCertificateRequestConditionTypeIssued,
				certificatesv1.PodCertificateRequestConditionTypeDenied,
				certificatesv1.PodCertificateRequestConditionTypeFailed:
				state = c.Type
			}
		}
		return []any{p.Name, p.Spec.PodName, p.Spec.ServiceAccountName, string(p.Spec.NodeName), p.Spec.SignerName, state,
			labels.FormatLabels(p.Spec.UnverifiedUserAnnotations)}
	})
	r.SelectableFields = selectable(func(p *certificatesv1.PodCertificateRequest) fields.Set {
		return fields.Set{
			"spec.signerName": p.Spec.SignerName,
			"spec.podName":    p.Spec.PodName,
			"spec.nodeName":   string(p.Spec.NodeName),
		}
	})
	r.Previews = previews(certificatesv1.GroupName, "v1beta1")
	r.Strategy = podCertificateRequestStrategy()
	r.Status = podCertificateRequestStatusStrategy()
	return r
}
