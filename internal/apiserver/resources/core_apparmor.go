package resources

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

// appArmorFields sets the profiles of containers from the annotations by which
// they were once named, and returns the annotations to warn of.
func appArmorFields(p *corev1.Pod) []string {
	if p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows {
		return nil
	}
	var whole *corev1.AppArmorProfile
	if p.Spec.SecurityContext != nil {
		whole = p.Spec.SecurityContext.AppArmorProfile
	}
	var used []string
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			c, key := &list[i], corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+list[i].Name
			value, ok := p.Annotations[key]
			if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
				continue
			}
			profile := appArmorProfile(value)
			switch {
			case profile == nil:
				used = append(used, key)
			case !apiequality.Semantic.DeepEqual(profile, whole):
				if c.SecurityContext == nil {
					c.SecurityContext = &corev1.SecurityContext{}
				}
				c.SecurityContext.AppArmorProfile = profile
				used = append(used, key)
			}
		}
	}
	return used
}

// appArmorProfile reads the value of an annotation; nil is a profile that
// there cannot be, which is left for validation to see.
func appArmorProfile(value string) *corev1.AppArmorProfile {
	switch name, local := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix); {
	case value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case local && name != "" && strings.TrimSpace(name) == name && len(name) < 4096:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}
