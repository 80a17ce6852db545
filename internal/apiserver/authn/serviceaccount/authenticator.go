package serviceaccount

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Authenticator proves service account tokens, bound ones and those kept in
// secrets. It implements authenticator.Token; a token of another issuer is not
// its business and no error.
type Authenticator struct {
	issuers   []string
	keys      *Keys
	audiences authenticator.Audiences
	objects   Objects
	log       *slog.Logger
	now       func() time.Time
}

// NewAuthenticator returns the authenticator of tokens by these issuers;
// audiences are the names that the API server itself goes by.
func NewAuthenticator(issuers []string, keys *Keys, audiences []string, objects Objects, log *slog.Logger, now func() time.Time) *Authenticator {
	return &Authenticator{
		issuers: append(slices.Clone(issuers), LegacyIssuer), keys: keys,
		audiences: audiences, objects: objects, log: log, now: now,
	}
}

// AuthenticateToken implements authenticator.Token.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !slices.Contains(a.issuers, unprovenIssuer(token)) {
		return nil, false, nil
	}
	parsed, err := jwt.ParseSigned(token, a.keys.algorithms())
	if err != nil {
		return nil, false, nil
	}
	c, err := a.prove(parsed)
	if err != nil {
		return nil, false, err
	}
	audiences, err := a.meant(ctx, c)
	if err != nil {
		return nil, false, err
	}
	now := a.now()
	if err := checkLifetime(c, now); err != nil {
		return nil, false, err
	}
	var info *serviceaccount.ServiceAccountInfo
	if c.Issuer == LegacyIssuer {
		info, err = a.checkLegacy(ctx, c, token, now)
	} else {
		info, err = checkBound(ctx, a.objects, c, now)
	}
	if err != nil {
		return nil, false, err
	}
	if late, ok := c.overdue(now); ok {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/stale-token",
			fmt.Sprintf("subject: %s, seconds after warning threshold: %d", c.Subject, late))
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}

// prove verifies the signature and returns what was signed.
func (a *Authenticator) prove(token *jwt.JSONWebToken) (*claims, error) {
	var keyID string
	if len(token.Headers) > 0 {
		keyID = token.Headers[0].KeyID
	}
	keys := a.keys.candidates(keyID)
	if len(keys) == 0 {
		return nil, errors.New("invalid signature, no keys found")
	}
	var errs []error
	for _, key := range keys {
		c := &claims{}
		if err := token.Claims(key, c); err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.Contains(a.issuers, c.Issuer) {
			return nil, fmt.Errorf("token issuer %q is invalid", c.Issuer)
		}
		return c, nil
	}
	return nil, errors.Join(errs...)
}

// meant returns which of the audiences that the caller stands for the token is
// meant for. A token that names none is meant for the API server.
func (a *Authenticator) meant(ctx context.Context, c *claims) (authenticator.Audiences, error) {
	named := authenticator.Audiences(c.Audience)
	if len(named) == 0 {
		audit.AddAuditAnnotation(ctx, "authentication.k8s.io/legacy-token", c.Subject)
		named = a.audiences
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = a.audiences
	}
	both := named.Intersect(wanted)
	if len(both) == 0 && len(a.audiences) > 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", named, wanted)
	}
	return both, nil
}

// unprovenIssuer reads who a token says it is from, before anything is proved:
// good only to decide whose business it is.
func unprovenIssuer(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return ""
	}
	return c.Issuer
}
