package reviews

import (
	"context"
	"errors"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// whoAmI tells the caller who he is taken for.
func whoAmI(ctx context.Context, _ *authenticationv1.SelfSubjectReview, check func() error) (runtime.Object, error) {
	u, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := check(); err != nil {
		return nil, err
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)},
	}, nil
}

// tokenReviews tells whose a token is.
type tokenReviews struct {
	tokens    authenticator.Request
	audiences []string
}

func (t tokenReviews) answer(ctx context.Context, q *authenticationv1.TokenReview, check func() error) (runtime.Object, error) {
	if q.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if err := check(); err != nil {
		return nil, err
	}
	audiences := q.Spec.Audiences
	if len(audiences) == 0 {
		audiences = t.audiences
	}
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	// The request has the token and nothing else that proves an identity.
	proof, err := http.NewRequestWithContext(request.WithUser(ctx, nil), http.MethodGet, "/", nil)
	if err != nil {
		return nil, err
	}
	proof.Header.Set("Authorization", "Bearer "+q.Spec.Token)
	who, ok, err := t.tokens.AuthenticateRequest(proof)
	q.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		q.Status.Error = err.Error()
	}
	if who == nil || !ok {
		return q, nil
	}
	if len(audiences) > 0 && len(authenticator.Audiences(audiences).Intersect(who.Audiences)) == 0 {
		return nil, apierrors.NewInternalError(errors.New("error validating audiences"))
	}
	q.Status.Audiences = who.Audiences
	if who.User != nil {
		q.Status.User = userInfo(who.User)
	}
	return q, nil
}
