package bootstraptoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"time"

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
func plan(data map[string]string, secrets []corev1.Secret, now time.Time) (map[string]string, time.Duration) {
	out := maps.Clone(data)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, signature) })
	content, ok := data[keyKubeconfig]
	if !ok {
		return out, 0
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
		out[signature+id] = sign(content, id, string(s.Data[keySecret]))
	}
	return out, again
}

// sign returns a detached JSON web signature, which names the token and leaves
// the content out. Those who join compare it letter by letter with their own.
func sign(content, id, secret string) string {
	encode := base64.RawURLEncoding.EncodeToString
	head := encode(fmt.Appendf(nil, `{"alg":"HS256","kid":%q}`, id))
	mac := hmac.New(sha256.New, []byte(id+"."+secret))
	mac.Write([]byte(head + "." + encode([]byte(content))))
	return head + ".." + encode(mac.Sum(nil))
}
