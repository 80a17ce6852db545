package bootstraptoken

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	corev1 "k8s.io/api/core/v1"
)

// Keys of a token's secret and of cluster-info.
const (
	keyID         = "token-id"
	keySecret     = "token-secret"
	keyExpiration = "expiration"
	keySigning    = "usage-bootstrap-signing"

	keyKubeconfig = "kubeconfig"
	signature     = "jws-kubeconfig-" // followed by the token's id
)

// expiry says when a token ends; false where it never does.
func expiry(s *corev1.Secret) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, string(s.Data[keyExpiration]))
	return at, err == nil
}

// plan returns what cluster-info shall hold at now: what it has, signed by each
// token that is meant for it, and how long that holds.
func plan(data map[string]string, secrets []corev1.Secret, now time.Time) (map[string]string, time.Duration, error) {
	out := maps.Clone(data)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, signature) })
	content, ok := data[keyKubeconfig]
	if !ok {
		return out, 0, nil
	}
	var again time.Duration
	for i := range secrets {
		s := &secrets[i]
		id := string(s.Data[keyID])
		if !isToken(s) || s.Name != secretPre+id || string(s.Data[keySigning]) != "true" || s.DeletionTimestamp != nil {
			continue
		}
		if at, ok := expiry(s); ok {
			left := at.Sub(now)
			if left <= 0 {
				continue
			}
			if again == 0 || left < again {
				again = left
			}
		}
		signed, err := sign(content, id, string(s.Data[keySecret]))
		if err != nil {
			return nil, 0, err
		}
		out[signature+id] = signed
	}
	return out, again, nil
}

// sign returns a detached signature, which names the token and not the content.
func sign(content, id, secret string) (string, error) {
	key := jose.JSONWebKey{Key: []byte(id + "." + secret), KeyID: id}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("sign with bootstrap token %s: %w", id, err)
	}
	signed, err := signer.Sign([]byte(content))
	if err != nil {
		return "", fmt.Errorf("sign with bootstrap token %s: %w", id, err)
	}
	return signed.DetachedCompactSerialize()
}
