package volumes

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/volumes/atomic"
	"github.com/sinawi/sinawi/internal/volumes/downward"
)

// Source reads what volumes show of the API.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Token asks for a token of a pod's service account.
	Token(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
	// PersistentVolume is what a claim is bound to; with an owner, one that was
	// made for that pod.
	PersistentVolume(ctx context.Context, namespace, claim string, owner *corev1.Pod) (*corev1.PersistentVolume, error)
}

const (
	defaultMode     = 0o644
	tokenExpiration = 3600
)

// content reads the files that a volume of API data shall show. The time, when
// not zero, is when a token in it should be renewed.
func (m *Manager) content(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (atomic.Files, time.Time, error) {
	switch {
	case volume.ConfigMap != nil:
		v := volume.ConfigMap
		files, err := m.configMap(ctx, pod, v.Name, v.Items, v.Optional, mode(v.DefaultMode))
		return files, time.Time{}, err
	case volume.Secret != nil:
		v := volume.Secret
		files, err := m.secret(ctx, pod, v.SecretName, v.Items, v.Optional, mode(v.DefaultMode))
		return files, time.Time{}, err
	case volume.DownwardAPI != nil:
		files, err := m.downward(pod, volume.DownwardAPI.Items, mode(volume.DownwardAPI.DefaultMode))
		return files, time.Time{}, err
	}
	return m.projected(ctx, pod, volume.Projected)
}

func mode(given *int32) fs.FileMode {
	if given == nil {
		return defaultMode
	}
	return fs.FileMode(*given)
}

func (m *Manager) configMap(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) (atomic.Files, error) {
	object, err := m.source.ConfigMap(ctx, pod.Namespace, name)
	if apierrors.IsNotFound(err) && yes(optional) {
		return atomic.Files{}, nil
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string][]byte, len(object.Data)+len(object.BinaryData))
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return pick("configmap references non-existent config key", data, items, yes(optional), mode)
}

func (m *Manager) secret(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, optional *bool, mode fs.FileMode) (atomic.Files, error) {
	object, err := m.source.Secret(ctx, pod.Namespace, name)
	if apierrors.IsNotFound(err) && yes(optional) {
		return atomic.Files{}, nil
	}
	if err != nil {
		return nil, err
	}
	return pick("references non-existent secret key", object.Data, items, yes(optional), mode)
}

func yes(b *bool) bool { return b != nil && *b }

// pick lays out data by items, or one file per key when there are none. missing
// begins the error for a key that is not there.
func pick(missing string, data map[string][]byte, items []corev1.KeyToPath, optional bool, mode fs.FileMode) (atomic.Files, error) {
	files := atomic.Files{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = atomic.File{Data: value, Mode: mode}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf("%s: %s", missing, item.Key)
		}
		file := atomic.File{Data: value, Mode: mode}
		if item.Mode != nil {
			file.Mode = fs.FileMode(*item.Mode)
		}
		files[item.Path] = file
	}
	return files, nil
}

func (m *Manager) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode fs.FileMode) (atomic.Files, error) {
	files := atomic.Files{}
	for _, item := range items {
		file := atomic.File{Mode: mode}
		if item.Mode != nil {
			file.Mode = fs.FileMode(*item.Mode)
		}
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = downward.Field(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = downward.Resource(item.ResourceFieldRef, pod, nil, m.options.Allocatable())
		}
		if err != nil {
			return nil, err
		}
		file.Data = []byte(value)
		files[item.Path] = file
	}
	return files, nil
}

func (m *Manager) projected(ctx context.Context, pod *corev1.Pod, source *corev1.ProjectedVolumeSource) (atomic.Files, time.Time, error) {
	all := atomic.Files{}
	var renew time.Time
	mode := mode(source.DefaultMode)
	for i := range source.Sources {
		part := &source.Sources[i]
		var files atomic.Files
		var err error
		switch {
		case part.ConfigMap != nil:
			files, err = m.configMap(ctx, pod, part.ConfigMap.Name, part.ConfigMap.Items, part.ConfigMap.Optional, mode)
		case part.Secret != nil:
			files, err = m.secret(ctx, pod, part.Secret.Name, part.Secret.Items, part.Secret.Optional, mode)
		case part.DownwardAPI != nil:
			files, err = m.downward(pod, part.DownwardAPI.Items, mode)
		case part.ServiceAccountToken != nil:
			var at time.Time
			files, at, err = m.token(ctx, pod, part.ServiceAccountToken, mode)
			if renew.IsZero() || at.Before(renew) {
				renew = at
			}
		case part.ClusterTrustBundle != nil && yes(part.ClusterTrustBundle.Optional):
		default:
			err = fmt.Errorf("source %d of the projection, a %s, is not supported on this node yet; leave it out", i, kindOf(part))
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		for path, file := range files {
			all[path] = file
		}
	}
	return all, renew, nil
}

// token returns the kept token while it is fresh, else asks for a new one.
func (m *Manager) token(ctx context.Context, pod *corev1.Pod, projection *corev1.ServiceAccountTokenProjection, mode fs.FileMode) (atomic.Files, time.Time, error) {
	seconds := int64(tokenExpiration)
	if projection.ExpirationSeconds != nil {
		seconds = *projection.ExpirationSeconds
	}
	key := tokenKey{pod: pod.UID, audience: projection.Audience, seconds: seconds}
	m.mu.Lock()
	kept, ok := m.tokens[key]
	m.mu.Unlock()
	if !ok || !m.options.Now().Before(kept.renew) {
		fresh, err := m.requestToken(ctx, pod, projection.Audience, seconds)
		switch {
		case err == nil:
			kept = fresh
		case !ok || !m.options.Now().Before(kept.expires):
			return nil, time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
		default:
			// The old one is still good; try again soon.
			kept.renew = m.options.Now().Add(tokenRetry)
		}
		m.mu.Lock()
		m.tokens[key] = kept
		m.mu.Unlock()
	}
	file := atomic.File{Data: []byte(kept.value), Mode: mode}
	switch group, user := fsGroup(pod), soleUser(pod); {
	case group != nil:
		file.Mode = 0o600 | 0o040
	case user != nil:
		file.Mode, file.UID = 0o600, user
	}
	return atomic.Files{projection.Path: file}, kept.renew, nil
}

func (m *Manager) requestToken(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	now := m.options.Now()
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	answer, err := m.source.Token(ctx, pod.Namespace, account, request)
	if err != nil {
		return token{}, err
	}
	expires := answer.Status.ExpirationTimestamp
	if expires.IsZero() {
		expires = metav1.NewTime(now.Add(time.Duration(seconds) * time.Second))
	}
	// As kubelet: renew at 80 % of the life, or after a day.
	life := min(expires.Sub(now)*8/10, 24*time.Hour)
	return token{value: answer.Status.Token, expires: expires.Time, renew: now.Add(life)}, nil
}

// soleUser is the user that every container of the pod runs as, if there is one.
func soleUser(pod *corev1.Pod) *int64 {
	var users []int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var user *int64
			if pod.Spec.SecurityContext != nil {
				user = pod.Spec.SecurityContext.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				user = sc.RunAsUser
			}
			if user == nil {
				return nil
			}
			users = append(users, *user)
		}
	}
	slices.Sort(users)
	if users = slices.Compact(users); len(users) != 1 {
		return nil
	}
	return &users[0]
}

// References are the objects whose content the pod's volumes show.
func References(pod *corev1.Pod) (configMaps, secrets []string) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			configMaps = append(configMaps, v.ConfigMap.Name)
		case v.Secret != nil:
			secrets = append(secrets, v.Secret.SecretName)
		case v.Projected != nil:
			for _, part := range v.Projected.Sources {
				if part.ConfigMap != nil {
					configMaps = append(configMaps, part.ConfigMap.Name)
				}
				if part.Secret != nil {
					secrets = append(secrets, part.Secret.Name)
				}
			}
		}
	}
	return configMaps, secrets
}

// plugin is the directory under volumes/ for a kind of volume.
func plugin(kind string) string { return "kubernetes.io~" + strings.ToLower(kind) }
