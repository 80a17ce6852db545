package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Profiles were once named by annotations. They do nothing any more, or are
// made into fields, and must not say something else than the fields do.

const (
	seccompPrefix  = corev1.SeccompContainerAnnotationKeyPrefix
	appArmorPrefix = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
)

// profileAnnotations checks the form of the annotations.
func profileAnnotations(l *check.List, a map[string]string, spec *corev1.PodSpec, path *field.Path) {
	containers := map[string]bool{}
	EachContainer(spec, path, func(c *corev1.Container, _ *field.Path) { containers[c.Name] = true })
	for _, key := range check.Keys(a) {
		value := a[key]
		switch {
		case key == corev1.SeccompPodAnnotationKey || strings.HasPrefix(key, seccompPrefix):
			seccompValue(l, path.Child(key), value)
		case strings.HasPrefix(key, appArmorPrefix):
			if name := strings.TrimPrefix(key, appArmorPrefix); !containers[name] {
				l.Invalid(path.Key(key), name, "container not found")
			}
			known := value == "" || value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault || value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
			if !known && !strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
				l.Invalid(path.Key(key), value, "invalid AppArmor profile name: \""+value+"\"")
			}
		}
	}
}

func seccompValue(l *check.List, path *field.Path, value string) {
	switch name, local := strings.CutPrefix(value, corev1.SeccompLocalhostProfileNamePrefix); {
	case value == corev1.SeccompProfileRuntimeDefault, value == corev1.DeprecatedSeccompProfileDockerDefault, value == corev1.SeccompProfileNameUnconfined:
	case local:
		l.DescendingPath(path, name)
	default:
		l.Invalid(path, value, "must be a valid seccomp profile")
	}
}

// profilesMatch checks a new pod, or a template, whose annotations and fields
// both name profiles.
func profilesMatch(l *check.List, a map[string]string, s *corev1.PodSpec, path *field.Path) {
	var whole *corev1.AppArmorProfile
	if sc := s.SecurityContext; sc != nil {
		whole = sc.AppArmorProfile
		seccompMatches(l, a, corev1.SeccompPodAnnotationKey, sc.SeccompProfile, path.Child("securityContext", "seccompProfile"))
	}
	windows := s.OS != nil && s.OS.Name == corev1.Windows
	EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		at, armor := at.Child("securityContext"), whole
		if sc := c.SecurityContext; sc != nil {
			seccompMatches(l, a, seccompPrefix+c.Name, sc.SeccompProfile, at.Child("seccompProfile"))
			if sc.AppArmorProfile != nil {
				armor = sc.AppArmorProfile
			}
		}
		if !windows {
			appArmorMatches(l, a, appArmorPrefix+c.Name, armor, at.Child("appArmorProfile"))
		}
	})
}

func seccompMatches(l *check.List, a map[string]string, key string, p *corev1.SeccompProfile, path *field.Path) {
	value, named := a[key]
	if p == nil || !named {
		return
	}
	const refused = "seccomp type in annotation and field must match"
	at := path.Child("type")
	switch name, local := strings.CutPrefix(value, corev1.SeccompLocalhostProfileNamePrefix); p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		if value != corev1.SeccompProfileNameUnconfined {
			l.Forbidden(at, refused)
		}
	case corev1.SeccompProfileTypeRuntimeDefault:
		if value != corev1.SeccompProfileRuntimeDefault && value != corev1.DeprecatedSeccompProfileDockerDefault {
			l.Forbidden(at, refused)
		}
	case corev1.SeccompProfileTypeLocalhost:
		if !local {
			l.Forbidden(at, refused)
		} else if p.LocalhostProfile == nil || *p.LocalhostProfile != name {
			l.Forbidden(path.Child("localhostProfile"), "seccomp profile in annotation and field must match")
		}
	}
}

func appArmorMatches(l *check.List, a map[string]string, key string, p *corev1.AppArmorProfile, path *field.Path) {
	value, named := a[key]
	if p == nil || !named {
		return
	}
	const refused = "apparmor type in annotation and field must match"
	at := path.Child("type")
	switch name, local := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix); p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		if value != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			l.Forbidden(at, refused)
		}
	case corev1.AppArmorProfileTypeRuntimeDefault:
		if value != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault {
			l.Forbidden(at, refused)
		}
	case corev1.AppArmorProfileTypeLocalhost:
		if !local {
			l.Forbidden(at, refused)
		} else if p.LocalhostProfile == nil || *p.LocalhostProfile != name {
			l.Forbidden(path.Child("localhostProfile"), "apparmor profile in annotation and field must match")
		}
	}
}

// profilesStay checks that the annotations of a pod that there is do not change.
func profilesStay(l *check.List, p, old *corev1.Pod) {
	path := field.NewPath("metadata", "annotations")
	for _, key := range check.Keys(old.Annotations) {
		if value, ok := p.Annotations[key]; strings.HasPrefix(key, appArmorPrefix) && (!ok || value != old.Annotations[key]) {
			l.Forbidden(path.Key(key), "may not remove or update AppArmor annotations")
		}
	}
	for _, key := range check.Keys(p.Annotations) {
		if _, ok := old.Annotations[key]; strings.HasPrefix(key, appArmorPrefix) && !ok {
			l.Forbidden(path.Key(key), "may not add AppArmor annotations")
		}
	}
}
