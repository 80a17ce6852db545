package certificates

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// PodSigning guards the status of pods' requests, where the certificates are.
type PodSigning struct {
	*admission.Handler
	authorizer authorizer.UnconditionalAuthorizer
}

// NewPodSigning returns the guard.
func NewPodSigning(a authorizer.UnconditionalAuthorizer) *PodSigning {
	return &PodSigning{Handler: admission.NewHandler(admission.Update), authorizer: a}
}

// Validate implements admission.ValidationInterface. Unlike the status of other
// requests this one is the signer's alone, so that any change is signing.
func (s *PodSigning) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	r := a.GetResource()
	if r.Group != certificatesv1.GroupName || r.Resource != "podcertificaterequests" || a.GetSubresource() != "status" {
		return nil
	}
	request, ok := a.GetObject().(*certificatesv1.PodCertificateRequest)
	old, okOld := a.GetOldObject().(*certificatesv1.PodCertificateRequest)
	if !ok || !okOld {
		return admission.NewForbidden(a, fmt.Errorf("expected type PodCertificateRequest, got: %T", a.GetObject()))
	}
	if equality.Semantic.DeepEqual(old.Status, request.Status) {
		return nil
	}
	const verb = "sign"
	signer := old.Spec.SignerName
	if mayUseSigner(ctx, s.authorizer, a.GetUserInfo(), verb, signer) {
		return nil
	}
	// Upstream finds this among the faults of the object.
	return apierrors.NewInvalid(a.GetKind().GroupKind(), old.Name, field.ErrorList{field.Forbidden(field.NewPath("spec", "signerName"),
		fmt.Sprintf("User %q is not permitted to %q for signer %q", a.GetUserInfo().GetName(), verb, signer))})
}
