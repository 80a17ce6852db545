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

// left is how long a token still holds: for ever if that is 0. One whose end cannot be
// read has ended.
func left(s *corev1.Secret, now time.Time) (_ time.Duration, ended bool) {
	text := string(s.Data[keyExpiration])
	if text == "" {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || !at.After(now) {
		return 0, true
	}
	return at.Sub(now), false
}

// signs says whether a token is meant to sign, and complete.
func signs(s *corev1.Secret) bool {
	id := string(s.Data[keyID])
	return isToken(s) && names(id) && s.Name == secretPre+id && len(s.Data[keySecret]) > 0 &&
		string(s.Data[keySigning]) == "true" && s.DeletionTimestamp == nil
}

// names says whether a text has the form of a token's id.
func names(id string) bool {
	return len(id) == 6 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// plan returns what cluster-info shall hold at now: what it has, signed by each
// token that is meant for it, and how long that holds. Without a kubeconfig there is
// nothing to sign, and what there is stays.
func plan(data map[string]string, secrets []corev1.Secret, now time.Time) (map[string]string, time.Duration) {
	content, ok := data[keyKubeconfig]
	if !ok {
		return data, 0
	}
	out := maps.Clone(data)
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, signature) })
	var again time.Duration
	for i := range secrets {
		s := &secrets[i]
		lasts, ended := left(s, now)
		if ended || !signs(s) {
			continue
		}
		if lasts > 0 && (again == 0 || lasts < again) {
			again = lasts
		}
		id := string(s.Data[keyID])
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
