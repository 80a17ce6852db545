// Package reviews answers questions about callers: who holds a token, who am I,
// may somebody do something, what may I do. They are resources that can only be
// created and are never stored. It also issues the tokens of service accounts.
//
// The answers are the server's own authenticator's and authorizer's; the
// package decides nothing and keeps no state.
package reviews

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Options of the answers.
type Options struct {
	// Issuer signs the tokens of service accounts.
	Issuer *serviceaccount.Issuer
	// Audiences are the names that the API server goes by in tokens.
	Audiences []string
	// MaxLifetime bounds how long a token lives; 0 does not.
	MaxLifetime time.Duration
	// NoExtension lets the tokens of pods live no longer than they ask for.
	NoExtension bool
}

// Extension adds the reviews and serviceaccounts/token to a server.
func Extension(o Options) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		token, err := newTokenRequests(h, o)
		if err != nil {
			return plug.Additions{}, err
		}
		authentication, authorization := authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
		may := access{h.Authorizer}
		return plug.Additions{Endpoints: []plug.Endpoint{
			{GroupVersion: corev1.SchemeGroupVersion, Path: "serviceaccounts/token", Storage: token},
			{GroupVersion: authentication, Path: "tokenreviews", Storage: &review[*authenticationv1.TokenReview]{
				singular: "tokenreview", make: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} },
				answer: tokenReviews{h.Authenticator, o.Audiences}.answer,
			}},
			{GroupVersion: authentication, Path: "selfsubjectreviews", Storage: &review[*authenticationv1.SelfSubjectReview]{
				singular: "selfsubjectreview", make: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} },
				answer: whoAmI,
			}},
			{GroupVersion: authorization, Path: "subjectaccessreviews", Storage: &review[*authorizationv1.SubjectAccessReview]{
				singular: "subjectaccessreview", make: func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} },
				answer: may.subject,
			}},
			{GroupVersion: authorization, Path: "selfsubjectaccessreviews", Storage: &review[*authorizationv1.SelfSubjectAccessReview]{
				singular: "selfsubjectaccessreview", make: func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
				answer: may.self,
			}},
			{GroupVersion: authorization, Path: "localsubjectaccessreviews", Storage: &review[*authorizationv1.LocalSubjectAccessReview]{
				singular: "localsubjectaccessreview", namespaced: true,
				make:   func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
				answer: may.local,
			}},
			{GroupVersion: authorization, Path: "selfsubjectrulesreviews", Storage: &review[*authorizationv1.SelfSubjectRulesReview]{
				singular: "selfsubjectrulesreview", make: func() *authorizationv1.SelfSubjectRulesReview { return &authorizationv1.SelfSubjectRulesReview{} },
				answer: myRules{h.RuleResolver}.answer,
			}},
		}}, nil
	}
}

// review is the storage of one kind of question: creating it is asking it.
type review[T runtime.Object] struct {
	singular   string
	namespaced bool
	make       func() T
	// answer checks q and returns it answered, or another in its place. It
	// calls check, the validation by admission, when q is known to be sound.
	answer func(ctx context.Context, q T, check func() error) (runtime.Object, error)
}

// New returns an empty question.
func (r *review[T]) New() runtime.Object { return r.make() }

// Destroy does nothing: nothing is stored.
func (r *review[T]) Destroy() {}

// NamespaceScoped says where the question is asked.
func (r *review[T]) NamespaceScoped() bool { return r.namespaced }

// GetSingularName is the name of one.
func (r *review[T]) GetSingularName() string { return r.singular }

// Create answers.
func (r *review[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	q, ok := obj.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %T: %#v", r.make(), obj))
	}
	return r.answer(ctx, q, func() error {
		if validate == nil {
			return nil
		}
		return validate(ctx, obj.DeepCopyObject())
	})
}

// caller is who asks.
func caller(ctx context.Context) (user.Info, error) {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return u, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	if extra := u.GetExtra(); len(extra) > 0 {
		info.Extra = make(map[string]authenticationv1.ExtraValue, len(extra))
		for k, v := range extra {
			info.Extra[k] = v
		}
	}
	return info
}
