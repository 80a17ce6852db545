package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Objects looks up what tokens refer to. An object that is gone is an error.
// Label writes a label of a secret that was looked up, unless the secret was
// replaced since.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Label(ctx context.Context, secret *corev1.Secret, key, value string) error
}

// leeway is how far clocks may disagree, and how long after its deletion began
// an object still vouches for its tokens.
const leeway = jwt.DefaultLeeway

var errInvalidated = errors.New("service account token has been invalidated")

// checkLifetime says whether the token is valid at now by its own dates.
func checkLifetime(c *claims, now time.Time) error {
	switch err := c.Validate(jwt.Expected{Time: now}); {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errors.New("service account token is issued in the future")
	default:
		return fmt.Errorf("service account token claims could not be validated: %w", err)
	}
}

// checkBound proves that all that a token is bound to still exists.
func checkBound(ctx context.Context, objects Objects, c *claims, now time.Time) (*serviceaccount.ServiceAccountInfo, error) {
	refs := c.Kubernetes
	if refs == nil {
		return nil, errors.New("service account token names no service account")
	}
	account, err := objects.ServiceAccount(ctx, refs.Namespace, refs.ServiceAccount.Name)
	if err != nil {
		return nil, err
	}
	if goneSince(account, now) {
		return nil, fmt.Errorf("service account %s/%s has been deleted", refs.Namespace, refs.ServiceAccount.Name)
	}
	if string(account.UID) != refs.ServiceAccount.UID {
		return nil, fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, refs.ServiceAccount.UID)
	}
	info := &serviceaccount.ServiceAccountInfo{
		Namespace: refs.Namespace, Name: refs.ServiceAccount.Name, UID: refs.ServiceAccount.UID,
	}
	if c.ID != "" {
		info.CredentialID = "JTI=" + c.ID
	}
	if refs.Secret != nil {
		secret, err := objects.Secret(ctx, refs.Namespace, refs.Secret.Name)
		if err := alive("secret", secret, err, *refs.Secret, now); err != nil {
			return nil, err
		}
	}
	if refs.Pod != nil {
		pod, err := objects.Pod(ctx, refs.Namespace, refs.Pod.Name)
		if err := alive("pod", pod, err, *refs.Pod, now); err != nil {
			return nil, err
		}
		info.PodName, info.PodUID = refs.Pod.Name, refs.Pod.UID
	}
	if refs.Node != nil {
		info.NodeName, info.NodeUID = refs.Node.Name, refs.Node.UID
		// A pod's token names its node only for the record; the pod vouches.
		if refs.Pod == nil {
			node, err := objects.Node(ctx, refs.Node.Name)
			if err := alive("node", node, err, *refs.Node, now); err != nil {
				return nil, err
			}
		}
	}
	return info, nil
}

// alive proves one bound object. Why a lookup failed stays here: the holder of
// a token learns only that it is no longer good.
func alive(kind string, obj metav1.Object, lookup error, ref reference, now time.Time) error {
	switch {
	case lookup != nil, goneSince(obj, now):
		return errInvalidated
	case obj.GetUID() != types.UID(ref.UID):
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, obj.GetUID(), kind, ref.UID)
	}
	return nil
}

func goneSince(obj metav1.Object, now time.Time) bool {
	deleted := obj.GetDeletionTimestamp()
	return deleted != nil && deleted.Time.Before(now.Add(-leeway))
}
