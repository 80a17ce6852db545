// Package serviceaccount gives every pod the identity of a service account: the
// account's name, a volume with a token, the cluster's CA and the namespace,
// and the account's image pull secrets. A pod whose account does not exist is
// refused, as is one that mounts what its account may not.
//
// It reads accounts and changes pods that are being created; it writes nothing
// of its own.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

const (
	defaultAccount = "default"
	volumePrefix   = "kube-api-access-"
	mountPath      = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenSeconds is an hour and a little: by the odd seven seconds the API
	// server knows a token that it may extend.
	tokenSeconds = 60*60 + 7
	// onlyMountable marks accounts whose pods may use only the secrets that
	// the account names.
	onlyMountable = "kubernetes.io/enforce-mountable-secrets"
)

// A new namespace gets its default account a moment after it was made, so that
// a pod that comes with it waits for the account: for a few milliseconds as a
// rule, for little more than a second at most. The pauses double.
const (
	defaultAccountTries = 9
	defaultAccountPause = 5 * time.Millisecond
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source lookup.Source
}

// New returns the plugin.
func New(source lookup.Source) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), source: source}
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := subject(a)
	if !ok || a.GetOperation() != admission.Create {
		return nil
	}
	if isMirror(pod) {
		return p.Validate(ctx, a, o)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if automounts(account, pod) {
		mountToken(pod, names.SimpleNameGenerator.GenerateName(volumePrefix))
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return p.Validate(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := subject(a)
	if !ok {
		return nil
	}
	ephemeral := a.GetSubresource() == "ephemeralcontainers"
	if a.GetOperation() == admission.Update && !ephemeral {
		return nil
	}
	if isMirror(pod) {
		if why := mirrorRefers(pod); why != "" {
			return admission.NewForbidden(a, errors.New(why))
		}
		return nil
	}
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if enforce, _ := strconv.ParseBool(account.Annotations[onlyMountable]); !enforce {
		return nil
	}
	check := limitSecrets
	if ephemeral {
		check = limitEphemeral
	}
	if err := check(account, pod); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// subject returns the pod of a request that is about one.
func subject(a admission.Attributes) (*corev1.Pod, bool) {
	if a.GetResource().GroupResource() != lookup.Core("pods") ||
		a.GetSubresource() != "" && a.GetSubresource() != "ephemeralcontainers" {
		return nil, false
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	return pod, ok
}

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

func (p *Plugin) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if messages := content.IsPathSegmentName(name); len(messages) > 0 {
		return nil, fmt.Errorf("invalid resource name %q: %v", name, messages)
	}
	tries, pause := 1, defaultAccountPause
	if name == defaultAccount {
		tries = defaultAccountTries
	}
	for {
		account, err := lookup.Get[*corev1.ServiceAccount](ctx, p.source, lookup.Core("serviceaccounts"), namespace, name)
		if err == nil || !apierrors.IsNotFound(err) {
			return account, err
		}
		if tries--; tries == 0 {
			return nil, apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func automounts(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
}

// mountToken mounts the token into every container that has nothing there. A
// pod that was made from another's manifest may bring the volume with it.
func mountToken(pod *corev1.Pod, volume string) {
	brought := false
	for i := range pod.Spec.Volumes {
		name := pod.Spec.Volumes[i].Name
		if len(name) > len(volumePrefix) && name[:len(volumePrefix)] == volumePrefix {
			volume, brought = name, true
			break
		}
	}
	mounted := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == mountPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: mountPath})
			mounted = true
		}
	}
	if mounted && !brought {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: volume, VolumeSource: corev1.VolumeSource{Projected: tokenVolume()},
		})
	}
}

// tokenVolume is complete: it comes after defaulting.
func tokenVolume() *corev1.ProjectedVolumeSource {
	mode, seconds := int32(0o644), int64(tokenSeconds)
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     "namespace",
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}
