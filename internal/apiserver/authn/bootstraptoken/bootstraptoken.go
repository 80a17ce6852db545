// Package bootstraptoken proves the short tokens with which a new node joins:
// ID.SECRET, kept in a secret of type bootstrap.kubernetes.io/token in
// kube-system. Deciding is pure; the only thing asked of the outside is that
// one secret. The package starts no goroutine and keeps nothing.
package bootstraptoken

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	namespace = "kube-system"
	// SecretPrefix begins the name of every token's secret; the id ends it.
	SecretPrefix = "bootstrap-token-"
	// Group is the group that all holders of a token are in.
	Group      = "system:bootstrappers"
	userPrefix = "system:bootstrap:"
)

// Keys of a token's secret.
const (
	keyID         = "token-id"
	keySecret     = "token-secret"
	keyExpiration = "expiration"
	keyUsage      = "usage-bootstrap-authentication"
	keyGroups     = "auth-extra-groups"
)

// Secrets reads one secret.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Authenticator proves bootstrap tokens. It implements authenticator.Token.
type Authenticator struct {
	secrets Secrets
	log     *slog.Logger
	now     func() time.Time
}

// New returns an authenticator that looks tokens up in secrets.
func New(secrets Secrets, log *slog.Logger, now func() time.Time) *Authenticator {
	return &Authenticator{secrets: secrets, log: log, now: now}
}

// AuthenticateToken implements authenticator.Token. A token that is no good is
// nobody's token, not an error; the log says what was wrong with it.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	id, secret, ok := Parse(token)
	if !ok {
		return nil, false, nil
	}
	stored, err := a.secrets.Secret(ctx, namespace, SecretPrefix+id)
	if apierrors.IsNotFound(err) {
		a.log.InfoContext(ctx, "bootstrap token refused", "token", id, "reason", "there is no such token")
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up bootstrap token %s: %w", id, err)
	}
	groups, err := check(stored, id, secret, a.now())
	if err != nil {
		a.log.InfoContext(ctx, "bootstrap token refused", "token", id, "reason", err.Error())
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: userPrefix + id, Groups: groups}}, true, nil
}

var tokenPattern = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16})\z`)

// Parse splits a token into its public id and its secret.
func Parse(token string) (id, secret string, ok bool) {
	m := tokenPattern.FindStringSubmatch(token)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// check says which groups the holder of id and secret is in at now.
func check(stored *corev1.Secret, id, secret string, now time.Time) ([]string, error) {
	data := func(key string) string { return string(stored.Data[key]) }
	switch {
	case stored.DeletionTimestamp != nil:
		return nil, errors.New("its secret is being deleted")
	case stored.Type != corev1.SecretTypeBootstrapToken:
		return nil, fmt.Errorf("its secret is of type %q", stored.Type)
	case subtle.ConstantTimeCompare(stored.Data[keySecret], []byte(secret)) != 1:
		return nil, errors.New("the secret part does not match")
	case data(keyID) != id:
		return nil, errors.New("its secret names another id")
	case data(keyUsage) != "true":
		return nil, errors.New("it is not for authentication")
	}
	if expires := data(keyExpiration); expires != "" {
		at, err := time.Parse(time.RFC3339, expires)
		if err != nil {
			return nil, fmt.Errorf("its expiration %q is no RFC 3339 time", expires)
		}
		if !now.Before(at) {
			return nil, fmt.Errorf("it expired at %s", expires)
		}
	}
	return groupsOf(data(keyGroups))
}

var groupPattern = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)

// groupsOf returns the group of all tokens and the extra ones, which may only
// be subgroups of it: a token must not make a cluster administrator.
func groupsOf(extra string) ([]string, error) {
	groups := []string{Group}
	if extra == "" {
		return groups, nil
	}
	for g := range strings.SplitSeq(extra, ",") {
		if !groupPattern.MatchString(g) {
			return nil, fmt.Errorf("its group %q is not below %s", g, Group)
		}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return groups, nil
}
