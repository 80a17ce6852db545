package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	askTimeout  = 10 * time.Second
	keepYes     = 2 * time.Minute
	keepNo      = 30 * time.Second
	maxAnswers  = 1024
	tokenHeader = "token\x00"
)

// delegated asks the API server who somebody is and what he may do, and
// remembers its answers for a while.
type delegated struct {
	client kubernetes.Interface

	mu      sync.Mutex // guards answers
	answers map[[sha256.Size]byte]answer
}

type answer struct {
	yes   bool
	user  authenticationv1.UserInfo
	until time.Time
}

// Delegated is an Access that asks the API server.
func Delegated(client kubernetes.Interface) Access {
	return &delegated{client: client, answers: map[[sha256.Size]byte]answer{}}
}

func (d *delegated) Token(ctx context.Context, token string) (authenticationv1.UserInfo, bool, error) {
	key := sha256.Sum256([]byte(tokenHeader + token))
	if known, ok := d.known(key); ok {
		return known.user, known.yes, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	review, err := d.client.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, false, fmt.Errorf("review token: %w", err)
	}
	d.keep(key, answer{yes: review.Status.Authenticated, user: review.Status.User})
	return review.Status.User, review.Status.Authenticated, nil
}

func (d *delegated) Allowed(ctx context.Context, user authenticationv1.UserInfo, attributes authorizationv1.ResourceAttributes) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: &attributes, User: user.Username, UID: user.UID, Groups: user.Groups,
		Extra: map[string]authorizationv1.ExtraValue{},
	}
	for name, values := range user.Extra {
		spec.Extra[name] = authorizationv1.ExtraValue(values)
	}
	question, err := json.Marshal(spec)
	if err != nil {
		return false, err
	}
	key := sha256.Sum256(question)
	if known, ok := d.known(key); ok {
		return known.yes, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	review, err := d.client.AuthorizationV1().SubjectAccessReviews().Create(ctx,
		&authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review access of %s: %w", user.Username, err)
	}
	d.keep(key, answer{yes: review.Status.Allowed})
	return review.Status.Allowed, nil
}

func (d *delegated) known(key [sha256.Size]byte) (answer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.answers[key]
	return known, ok && time.Now().Before(known.until)
}

func (d *delegated) keep(key [sha256.Size]byte, a answer) {
	now := time.Now()
	a.until = now.Add(keepNo)
	if a.yes {
		a.until = now.Add(keepYes)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) >= maxAnswers {
		clear(d.answers)
	}
	d.answers[key] = a
}
