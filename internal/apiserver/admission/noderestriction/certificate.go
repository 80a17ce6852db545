package noderestriction

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
	"github.com/sinawi/sinawi/internal/apiserver/validation/certificates"
)

// ownCertificate lets a node ask the signers of nodes' certificates for its own
// name alone.
func ownCertificate(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create {
		return nil
	}
	request, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return unexpected(a.GetObject())
	}
	if s := request.Spec.SignerName; s != certificatesv1.KubeletServingSignerName && s != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	block, _ := pem.Decode(request.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("unable to parse csr: " + certificates.NoRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("unable to parse csr: %w", err)
	}
	if csr.Subject.CommonName != "system:node:"+node {
		return fmt.Errorf("can only create a node CSR with CN=system:node:%s", node)
	}
	return nil
}

// tryAgain is a refusal that may be due to what this server has not seen yet.
type tryAgain struct{ error }

// named reads an object that a request for a pod's certificate names.
func named[T runtime.Object](ctx context.Context, p *Plugin, kind, resource, namespace, name, shown string) (T, error) {
	obj, err := lookup.Get[T](ctx, p.source, lookup.Core(resource), namespace, name)
	if err == nil {
		return obj, nil
	}
	err = fmt.Errorf("while retrieving %s %q named in the PodCertificateRequest: %w", kind, shown, err)
	if apierrors.IsNotFound(err) {
		err = tryAgain{err}
	}
	return obj, err
}

// podCertificate lets a node ask for certificates of the pods that run on it, for
// signers that they mean.
func (p *Plugin) podCertificate(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create {
		return fmt.Errorf("unexpected operation %v", a.GetOperation())
	}
	if a.GetSubresource() != "" {
		return fmt.Errorf("unexpected subresource %v", a.GetSubresource())
	}
	request, ok := a.GetObject().(*certificatesv1.PodCertificateRequest)
	if !ok {
		return unexpected(a.GetObject())
	}
	spec := &request.Spec
	if string(spec.NodeName) != node {
		return fmt.Errorf("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", spec.NodeName, node)
	}
	of := a.GetNamespace() + "/" + spec.PodName
	running, err := named[*corev1.Node](ctx, p, "node", "nodes", "", node, node)
	if err != nil {
		return err
	}
	if running.UID != spec.NodeUID {
		return tryAgain{fmt.Errorf("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", of, spec.NodeUID, running.UID)}
	}
	pod, err := named[*corev1.Pod](ctx, p, "pod", "pods", a.GetNamespace(), spec.PodName, of)
	if err != nil {
		return err
	}
	if err := podOf(spec, pod, of); err != nil {
		return err
	}
	account, err := named[*corev1.ServiceAccount](ctx, p, "service account", "serviceaccounts", a.GetNamespace(),
		spec.ServiceAccountName, a.GetNamespace()+"/"+spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if spec.ServiceAccountUID != account.UID {
		return tryAgain{fmt.Errorf("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", of, spec.ServiceAccountUID, account.UID)}
	}
	return p.signer(ctx, a, pod, spec)
}

// podOf checks that a request is for a pod as it is.
func podOf(spec *certificatesv1.PodCertificateRequestSpec, pod *corev1.Pod, of string) error {
	if spec.PodUID != pod.UID {
		return tryAgain{fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", of, spec.PodUID, pod.UID)}
	}
	if pod.Spec.NodeName != string(spec.NodeName) {
		return fmt.Errorf("pod %q is not running on node %q named in the PodCertificateRequest", of, spec.NodeName)
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return fmt.Errorf("pod %q is a mirror pod", of)
	}
	if spec.ServiceAccountName != pod.Spec.ServiceAccountName {
		return fmt.Errorf("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", of, spec.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	return nil
}

// signer proves that a volume of the pod means the signer, or that the node may
// ask it for certificates of the account anyway.
func (p *Plugin) signer(ctx context.Context, a admission.Attributes, pod *corev1.Pod, spec *certificatesv1.PodCertificateRequestSpec) error {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Projected == nil {
			continue
		}
		for _, s := range pod.Spec.Volumes[i].Projected.Sources {
			if s.PodCertificate != nil && s.PodCertificate.SignerName == spec.SignerName {
				return nil
			}
		}
	}
	user := a.GetUserInfo()
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: user, Verb: "request-serviceaccounts-podcertificate-signer", Namespace: a.GetNamespace(),
		APIGroup: a.GetResource().Group, APIVersion: a.GetResource().Version,
		// Rules can name no resource with a slash in it.
		Resource: strings.ReplaceAll(spec.SignerName, "/", ":"), Name: spec.ServiceAccountName, ResourceRequest: true,
	})
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil:
		return fmt.Errorf("error authorizing %s to request podcertificaterequests for signer %q: %w", user.GetName(), spec.SignerName, err)
	}
	return fmt.Errorf("pod %q does not mount a podCertificate projected volume for signer %q", a.GetNamespace()+"/"+spec.PodName, spec.SignerName)
}
