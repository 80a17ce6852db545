// Package optional holds the small plugins that are off unless an administrator
// asks for them: AlwaysPullImages, ExtendedResourceToleration and
// DenyServiceExternalIPs.
package optional

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// AlwaysPullImages makes every pod prove its right to an image by pulling it.
type AlwaysPullImages struct{ *admission.Handler }

// NewAlwaysPullImages returns the plugin.
func NewAlwaysPullImages() *AlwaysPullImages {
	return &AlwaysPullImages{admission.NewHandler(admission.Create, admission.Update)}
}

// Admit implements admission.MutationInterface.
func (*AlwaysPullImages) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	for _, policy := range pullPolicies(pod) {
		*policy = corev1.PullAlways
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			image.PullPolicy = corev1.PullAlways
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (*AlwaysPullImages) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	for _, policy := range pullPolicies(pod) {
		if *policy != corev1.PullAlways {
			return admission.NewForbidden(a, fmt.Errorf("imagePullPolicy must be Always, but another plugin made it %s", *policy))
		}
	}
	return nil
}

func pullPolicies(pod *corev1.Pod) []*corev1.PullPolicy {
	var out []*corev1.PullPolicy
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out = append(out, &list[i].ImagePullPolicy)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, &pod.Spec.EphemeralContainers[i].ImagePullPolicy)
	}
	return out
}

// ExtendedResourceToleration lets pods that ask for a device go where its taint
// keeps others away.
type ExtendedResourceToleration struct{ *admission.Handler }

// NewExtendedResourceToleration returns the plugin.
func NewExtendedResourceToleration() *ExtendedResourceToleration {
	return &ExtendedResourceToleration{admission.NewHandler(admission.Create, admission.Update)}
}

// Admit implements admission.MutationInterface.
func (*ExtendedResourceToleration) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil || a.GetSubresource() != "" {
		return nil
	}
	asked := map[string]bool{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for name := range c.Resources.Requests {
				if extended(string(name)) {
					asked[string(name)] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		want := corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
		if !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return t.MatchToleration(&want) }) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, want)
		}
	}
	return nil
}

// extended says whether a resource is one that nodes advertise themselves.
func extended(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") && !strings.HasPrefix(name, "requests.")
}

// DenyServiceExternalIPs refuses new addresses in spec.externalIPs, by which a
// service can take traffic that is not its own.
type DenyServiceExternalIPs struct{ *admission.Handler }

// NewDenyServiceExternalIPs returns the plugin.
func NewDenyServiceExternalIPs() *DenyServiceExternalIPs {
	return &DenyServiceExternalIPs{admission.NewHandler(admission.Create, admission.Update)}
}

// Validate implements admission.ValidationInterface.
func (*DenyServiceExternalIPs) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("services") || a.GetSubresource() != "" {
		return nil
	}
	after, ok := a.GetObject().(*corev1.Service)
	if !ok {
		return nil
	}
	var had []string
	if before, ok := a.GetOldObject().(*corev1.Service); ok {
		had = before.Spec.ExternalIPs
	}
	for _, ip := range after.Spec.ExternalIPs {
		if !slices.Contains(had, ip) {
			return admission.NewForbidden(a, fmt.Errorf("use of external IPs is denied by admission control"))
		}
	}
	return nil
}

func podOf(a admission.Attributes) *corev1.Pod {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "" && a.GetSubresource() != "ephemeralcontainers" {
		return nil
	}
	pod, _ := a.GetObject().(*corev1.Pod)
	return pod
}
