// Package accounttoken fills the secrets of type
// kubernetes.io/service-account-token, which people make to have a token that
// does not end: with a token of the account that they name, the cluster's CA and
// their namespace. A secret goes with its account, and an account does not list a
// secret that went.
//
// It owns those three entries, the account's uid in the annotations and the
// account's word of a secret that is gone. Who signs the token is not its
// business: it is given a function.
package accounttoken

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Issue signs a token of an account that lives as long as the secret that
// holds it.
type Issue func(account *corev1.ServiceAccount, secret string) (string, error)

// Controller reconciles secrets.
type Controller struct {
	loop.Deps
	loop  *loop.Loop
	issue Issue
	ca    []byte
}

// New returns a controller that issues tokens with issue.
func New(deps loop.Deps, issue Issue, ca []byte) *Controller {
	c := &Controller{Deps: deps, issue: issue, ca: ca}
	c.loop = loop.New("serviceaccount-token", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Secret{}, func(before, after client.Object) []loop.Key {
		if after == nil {
			return forget(before.(*corev1.Secret))
		}
		if !isToken(after.(*corev1.Secret)) {
			return nil
		}
		return loop.Self(after)
	})
	c.loop.WatchChanges(&corev1.ServiceAccount{}, func(before, after client.Object) []loop.Key {
		// A change of an account changes nothing for its tokens.
		if before != nil && after != nil && before.GetUID() == after.GetUID() {
			return nil
		}
		if after == nil {
			after = before
		}
		return c.tokensOf(after)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func isToken(s *corev1.Secret) bool {
	return s.Type == corev1.SecretTypeServiceAccountToken && s.Annotations[corev1.ServiceAccountNameKey] != ""
}

func (c *Controller) tokensOf(account client.Object) []loop.Key {
	var secrets corev1.SecretList
	if err := c.Cache.List(context.Background(), &secrets, client.InNamespace(account.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list token secrets", "namespace", account.GetNamespace(), "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range secrets.Items {
		if s := &secrets.Items[i]; isToken(s) && s.Annotations[corev1.ServiceAccountNameKey] == account.GetName() {
			keys = append(keys, loop.Self(s)...)
		}
	}
	return keys
}

// forget is the key of what an account still says of a secret that is gone: the
// account's name and the secret's.
func forget(s *corev1.Secret) []loop.Key {
	if !isToken(s) {
		return nil
	}
	return []loop.Key{{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey] + "/" + s.Name}}
}

// forgotten takes a secret that is gone off its account's list.
func (c *Controller) forgotten(ctx context.Context, key loop.Key, secret string) error {
	account := &corev1.ServiceAccount{}
	if err := c.Cache.Get(ctx, key, account, client.UnsafeDisableDeepCopy); err != nil {
		return client.IgnoreNotFound(err)
	}
	named := func(r corev1.ObjectReference) bool { return r.Name == secret }
	if !slices.ContainsFunc(account.Secrets, named) {
		return nil
	}
	// One of the same name may have been made since.
	err := c.Client.Get(ctx, loop.Key{Namespace: key.Namespace, Name: secret}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	changed := account.DeepCopy()
	changed.Secrets = slices.DeleteFunc(changed.Secrets, named)
	if err := c.Client.Update(ctx, changed); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take secret %s off service account %s: %w", secret, key, err)
	}
	return nil
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	if account, secret, ok := strings.Cut(key.Name, "/"); ok {
		return 0, c.forgotten(ctx, loop.Key{Namespace: key.Namespace, Name: account}, secret)
	}
	secret := &corev1.Secret{}
	if err := c.Cache.Get(ctx, key, secret, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !isToken(secret) || secret.DeletionTimestamp != nil {
		return 0, nil
	}
	account, err := c.account(ctx, secret)
	if err != nil {
		return 0, err
	}
	if account == nil {
		err := c.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
		if client.IgnoreNotFound(err) != nil {
			return 0, fmt.Errorf("remove token secret %s of a missing account: %w", key, err)
		}
		return 0, nil
	}
	return 0, c.fill(ctx, secret, account)
}

// account returns the account that a secret belongs to; nil when it is gone for
// certain.
func (c *Controller) account(ctx context.Context, s *corev1.Secret) (*corev1.ServiceAccount, error) {
	key := loop.Key{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	right := func(a *corev1.ServiceAccount) bool { return uid == "" || uid == string(a.UID) }
	a := &corev1.ServiceAccount{}
	err := c.Cache.Get(ctx, key, a, client.UnsafeDisableDeepCopy)
	if err == nil && right(a) {
		return a, nil
	}
	// The cache may lag: only the server knows that it is gone.
	a = &corev1.ServiceAccount{}
	err = c.Client.Get(ctx, key, a)
	switch {
	case apierrors.IsNotFound(err) || err == nil && !right(a):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up service account %s: %w", key, err)
	}
	return a, nil
}

func (c *Controller) fill(ctx context.Context, s *corev1.Secret, account *corev1.ServiceAccount) error {
	if len(s.Data[corev1.ServiceAccountTokenKey]) > 0 && bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], c.ca) &&
		string(s.Data[corev1.ServiceAccountNamespaceKey]) == s.Namespace && s.Annotations[corev1.ServiceAccountUIDKey] == string(account.UID) {
		return nil
	}
	want := s.DeepCopy()
	if want.Data == nil {
		want.Data = map[string][]byte{}
	}
	if len(want.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := c.issue(account, s.Name)
		if err != nil {
			return fmt.Errorf("token for secret %s/%s: %w", s.Namespace, s.Name, err)
		}
		want.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	want.Data[corev1.ServiceAccountRootCAKey] = c.ca
	want.Data[corev1.ServiceAccountNamespaceKey] = []byte(s.Namespace)
	want.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	if err := c.Client.Update(ctx, want); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("fill token secret %s/%s: %w", s.Namespace, s.Name, err))
	}
	return nil
}
