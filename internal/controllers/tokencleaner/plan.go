package tokencleaner

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Labels on the secrets that hold tokens, days in their values.
const (
	lastUsed     = "kubernetes.io/legacy-token-last-used"
	invalidSince = "kubernetes.io/legacy-token-invalid-since"
)

// snapshot is what is decided by. It is shared: read-only.
type snapshot struct {
	secrets  []corev1.Secret
	accounts []corev1.ServiceAccount
	pods     []corev1.Pod
}

// action shuts a secret's token off, or removes the secret.
type action struct {
	secret *corev1.Secret
	remove bool
}

// recordedLong says whether use has been recorded for as long as a token may lie
// idle. The day on which the record began is not a whole one.
func recordedLong(since, now time.Time) bool {
	return !now.Before(since.AddDate(0, 0, 1).Add(unused))
}

// plan returns what is to be done about tokens that were not used for long.
func plan(all snapshot, now time.Time) []action {
	var out []action
	accounts := map[types.NamespacedName]*corev1.ServiceAccount{}
	for i := range all.accounts {
		a := &all.accounts[i]
		accounts[types.NamespacedName{Namespace: a.Namespace, Name: a.Name}] = a
	}
	var mounted map[types.NamespacedName]bool // when first needed
	for i := range all.secrets {
		s := &all.secrets[i]
		if !idle(s, now) || !generated(s, accounts) {
			continue
		}
		if mounted == nil {
			mounted = references(all.pods)
		}
		if mounted[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] {
			continue
		}
		switch since, err := time.Parse(time.DateOnly, s.Labels[invalidSince]); {
		case err != nil:
			out = append(out, action{secret: s})
		case since.Before(limit(now)):
			out = append(out, action{secret: s, remove: true})
		}
	}
	return out
}

// limit is the first day that is not too long ago.
func limit(now time.Time) time.Time { return now.Add(-unused).Truncate(24 * time.Hour) }

// idle says whether a secret holds a token that was made and last used long ago.
// A day that cannot be read proves nothing.
func idle(s *corev1.Secret, now time.Time) bool {
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil ||
		!s.CreationTimestamp.Time.Before(now.Add(-unused)) {
		return false
	}
	day, ok := s.Labels[lastUsed]
	if !ok {
		return true
	}
	used, err := time.Parse(time.DateOnly, day)
	return err == nil && used.Before(limit(now))
}

// generated says whether an old cluster made the secret for its account: only
// then does the account name it.
func generated(s *corev1.Secret, accounts map[types.NamespacedName]*corev1.ServiceAccount) bool {
	a := accounts[types.NamespacedName{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}]
	if a == nil {
		return false
	}
	if uid := s.Annotations[corev1.ServiceAccountUIDKey]; uid != "" && uid != string(a.UID) {
		return false
	}
	return slices.ContainsFunc(a.Secrets, func(ref corev1.ObjectReference) bool { return ref.Name == s.Name })
}
