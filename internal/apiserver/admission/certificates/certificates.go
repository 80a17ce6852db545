// Package certificates guards requests for certificates: who approves or signs
// for a signer needs its permission, whoever asked, and nobody gets a certificate
// of the administrators' group by way of the client signer.
package certificates

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/pki"
)

// Signing guards one subresource by one verb on signers.
type Signing struct {
	*admission.Handler
	authorizer  authorizer.UnconditionalAuthorizer
	subresource string
	verb        string
}

// NewApproval returns the guard of approvals.
func NewApproval(a authorizer.UnconditionalAuthorizer) *Signing {
	return &Signing{Handler: admission.NewHandler(admission.Update), authorizer: a, subresource: "approval", verb: "approve"}
}

// NewSigning returns the guard of issued certificates.
func NewSigning(a authorizer.UnconditionalAuthorizer) *Signing {
	return &Signing{Handler: admission.NewHandler(admission.Update), authorizer: a, subresource: "status", verb: "sign"}
}

// Validate implements admission.ValidationInterface.
func (s *Signing) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !isRequest(a) || a.GetSubresource() != s.subresource {
		return nil
	}
	csr, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	old, okOld := a.GetOldObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || !okOld {
		return admission.NewForbidden(a, fmt.Errorf("expected type CertificateSigningRequest, got: %T", a.GetObject()))
	}
	// A status may be written for other reasons than to sign.
	if s.verb == "sign" && reflect.DeepEqual(old.Status.Certificate, csr.Status.Certificate) &&
		reflect.DeepEqual(failures(old), failures(csr)) {
		return nil
	}
	signer := old.Spec.SignerName
	if !mayUseSigner(ctx, s.authorizer, a.GetUserInfo(), s.verb, signer) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to %s requests with signerName %q", s.verb, signer))
	}
	return nil
}

func failures(csr *certificatesv1.CertificateSigningRequest) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateFailed {
			out = append(out, c)
		}
	}
	return out
}

// mayUseSigner asks for the signer itself, then for all of its domain.
func mayUseSigner(ctx context.Context, a authorizer.UnconditionalAuthorizer, u user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, err := a.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*", Resource: "signers", ResourceRequest: true,
		})
		if err == nil && decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// Attest guards trust bundles that a signer vouches for.
type Attest struct {
	*admission.Handler
	authorizer authorizer.UnconditionalAuthorizer
}

// NewAttest returns the guard of trust bundles.
func NewAttest(a authorizer.UnconditionalAuthorizer) *Attest {
	return &Attest{Handler: admission.NewHandler(admission.Create, admission.Update), authorizer: a}
}

// Validate implements admission.ValidationInterface.
func (p *Attest) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != certificatesv1.GroupName || a.GetResource().Resource != "clustertrustbundles" {
		return nil
	}
	signer, ok := bundleSigner(a.GetObject())
	if !ok || signer == "" {
		return nil
	}
	if !mayUseSigner(ctx, p.authorizer, a.GetUserInfo(), "attest", signer) {
		return admission.NewForbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", signer))
	}
	return nil
}

// bundleSigner reads the signer of a bundle in whichever version is served.
func bundleSigner(obj any) (string, bool) {
	v := reflect.Indirect(reflect.ValueOf(obj))
	if v.Kind() != reflect.Struct {
		return "", false
	}
	spec := v.FieldByName("Spec")
	if !spec.IsValid() || spec.Kind() != reflect.Struct {
		return "", false
	}
	name := spec.FieldByName("SignerName")
	if !name.IsValid() || name.Kind() != reflect.String {
		return "", false
	}
	return name.String(), true
}

// Subject refuses requests that ask to be an administrator.
type Subject struct{ *admission.Handler }

// NewSubject returns the plugin.
func NewSubject() *Subject { return &Subject{Handler: admission.NewHandler(admission.Create)} }

// Validate implements admission.ValidationInterface.
func (*Subject) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	csr, ok := a.GetObject().(*certificatesv1.CertificateSigningRequest)
	if !ok || !isRequest(a) || a.GetSubresource() != "" || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	request, err := pki.ParseRequest(csr.Spec.Request)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(request.Subject.Organization, user.SystemPrivilegedGroup) {
		return admission.NewForbidden(a, fmt.Errorf("use of %s signer with system:masters group is not allowed", csr.Spec.SignerName))
	}
	return nil
}

func isRequest(a admission.Attributes) bool {
	r := a.GetResource()
	return r.Group == certificatesv1.GroupName && r.Resource == "certificatesigningrequests"
}
