package csr

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Signer signs with the cluster's authority.
type Signer interface {
	// Sign returns a certificate in PEM for what template names: its subject,
	// names, usages and dates are those of the template, its key the request's.
	Sign(template *x509.Certificate, request *x509.CertificateRequest) ([]byte, error)
}

// Controller reconciles certificate signing requests.
type Controller struct {
	loop.Deps
	loop   *loop.Loop
	signer Signer
	now    func() time.Time
}

// New returns a controller that signs with signer.
func New(deps loop.Deps, signer Signer) *Controller {
	c := &Controller{Deps: deps, signer: signer, now: time.Now}
	c.loop = loop.New("certificatesigningrequest", 2, deps, c.reconcile)
	c.loop.WatchSelf(&certificatesv1.CertificateSigningRequest{})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	have := &certificatesv1.CertificateSigningRequest{}
	if err := c.Cache.Get(ctx, key, have, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	end := removeAt(have)
	if left := end.Sub(c.now()); end.IsZero() || left > 0 {
		return max(left, 0), c.answer(ctx, have)
	}
	err := c.Client.Delete(ctx, have, client.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("remove certificate signing request %s: %w", have.Name, err)
	}
	return 0, nil
}

// answer does the next thing for a request; the change brings it back.
func (c *Controller) answer(ctx context.Context, have *certificatesv1.CertificateSigningRequest) error {
	if pending(have) {
		return c.sign(ctx, have)
	}
	for _, p := range approvable(have) {
		ok, err := c.may(ctx, have, p)
		if err != nil {
			return err
		}
		if ok {
			return c.approve(ctx, have.DeepCopy(), p)
		}
	}
	return nil
}

// may asks whether the requester has a permission.
func (c *Controller) may(ctx context.Context, r *certificatesv1.CertificateSigningRequest, p permission) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range maps.All(r.Spec.Extra) {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Subresource: p.subresource, Verb: "create", Version: "*",
		},
	}}
	if err := c.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask whether %s may have a node's certificate: %w", r.Spec.Username, err)
	}
	return review.Status.Allowed, nil
}

func (c *Controller) approve(ctx context.Context, r *certificatesv1.CertificateSigningRequest, p permission) error {
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: p.message,
	})
	if err := c.Client.SubResource("approval").Update(ctx, r); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("approve certificate signing request %s: %w", r.Name, err))
	}
	return nil
}

func (c *Controller) sign(ctx context.Context, have *certificatesv1.CertificateSigningRequest) error {
	t, ours, err := plan(have, c.now())
	if !ours {
		return nil
	}
	r := have.DeepCopy()
	if err != nil {
		now := metav1.NewTime(c.now())
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: err.Error(), LastUpdateTime: now,
		})
	} else if r.Status.Certificate, err = c.signer.Sign(t.certificate(), t.request); err != nil {
		return fmt.Errorf("sign certificate signing request %s: %w", r.Name, err)
	}
	if err := c.Client.Status().Update(ctx, r); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("answer certificate signing request %s: %w", r.Name, err))
	}
	return nil
}

func (t template) certificate() *x509.Certificate {
	return &x509.Certificate{
		Subject:        t.request.Subject,
		DNSNames:       slices.Clone(t.request.DNSNames),
		IPAddresses:    slices.Clone(t.request.IPAddresses),
		EmailAddresses: slices.Clone(t.request.EmailAddresses),
		URIs:           slices.Clone(t.request.URIs),
		KeyUsage:       t.use,
		ExtKeyUsage:    t.extended,
		NotBefore:      t.notBefore,
		NotAfter:       t.notAfter,
	}
}
