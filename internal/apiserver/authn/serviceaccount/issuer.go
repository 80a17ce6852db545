package serviceaccount

import (
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// LegacyIssuer is the issuer that tokens kept in secrets name.
const LegacyIssuer = "kubernetes/serviceaccount"

// Issuer signs tokens.
type Issuer struct {
	name string
	keys *Keys
	now  func() time.Time
}

// NewIssuer returns the issuer that signs as name, a URL that the discovery
// document repeats.
func NewIssuer(name string, keys *Keys, now func() time.Time) *Issuer {
	return &Issuer{name: name, keys: keys, now: now}
}

// Issue signs a token for g. The id is the token's own: it is recorded with
// every request that the token makes.
func (i *Issuer) Issue(g Grant) (token, id string, err error) {
	id = uuid.NewString()
	token, err = i.sign(claimsFor(i.name, id, g, i.now()))
	return token, id, err
}

// IssueForSecret signs a token that lives as long as the secret that holds it.
func (i *Issuer) IssueForSecret(namespace string, account Object, secret string) (string, error) {
	c := claims{legacy: legacy{
		AccountName: account.Name, AccountUID: account.UID, SecretName: secret, Namespace: namespace,
	}}
	c.Issuer = LegacyIssuer
	c.Subject = "system:serviceaccount:" + namespace + ":" + account.Name
	return i.sign(c)
}

func (i *Issuer) sign(c claims) (string, error) {
	token, err := jwt.Signed(i.keys.signer()).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign service account token: %w", err)
	}
	return token, nil
}
