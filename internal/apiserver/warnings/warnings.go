// Package warnings tells writers what of an object is accepted and still
// probably not what they mean: values that occur twice, and fields that do
// nothing any more. It refuses nothing and is pure.
package warnings

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
)

// list collects warnings.
type list []string

func (l *list) add(at *field.Path, format string, args ...any) {
	*l = append(*l, at.String()+": "+fmt.Sprintf(format, args...))
}

// Pod warns of a new pod.
func Pod(p *corev1.Pod) []string {
	var l list
	if messages := validation.IsDNS1123Label(p.Name); len(messages) > 0 {
		l.add(field.NewPath("metadata", "name"),
			"this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages)
	}
	return append(l, object(&p.Spec, &p.ObjectMeta, nil)...)
}

// PodName warns of a name that does not do as part of the names of pods.
func PodName(name string) []string {
	var l list
	if messages := validation.IsDNS1123Label(name); len(messages) > 0 {
		l.add(field.NewPath("metadata", "name"),
			"this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", messages)
	}
	return l
}

// Template warns of the pods that a workload makes.
func Template(t *corev1.PodTemplateSpec, path *field.Path) []string {
	return object(&t.Spec, &t.ObjectMeta, path)
}

// object warns of a pod or, where path is not nil, of a template.
func object(s *corev1.PodSpec, meta *metav1.ObjectMeta, path *field.Path) list {
	at := path.Child("spec")
	var l list
	l.placement(s, at)
	l.annotations(s, meta, path)
	l.volumes(s.Volumes, at.Child("volumes"))
	l.references(s, at)
	l.fraction(s.Overhead, at.Child("overhead"))
	if s.Resources != nil {
		l.fraction(s.Resources.Limits, at.Child("resources", "limits"))
		l.fraction(s.Resources.Requests, at.Child("resources", "requests"))
	}
	pod.EachContainer(s, at, func(c *corev1.Container, at *field.Path) {
		l.fraction(c.Resources.Limits, at.Child("resources", "limits"))
		l.fraction(c.Resources.Requests, at.Child("resources", "requests"))
		l.environment(c.Env, at.Child("env"))
	})
	l.ports(s, at)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		l.add(at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	return l
}

// fraction warns of amounts that are less than a byte.
func (l *list) fraction(amounts corev1.ResourceList, path *field.Path) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceStorage} {
		if q, ok := amounts[name]; ok && q.MilliValue()%1000 != 0 {
			l.add(path.Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

// environment warns of entries that hide an earlier one; one that builds upon
// the earlier value does not.
func (l *list) environment(vars []corev1.EnvVar, path *field.Path) {
	seen := map[string]bool{}
	for i, e := range vars {
		earlier := "$(" + e.Name + ")"
		if seen[e.Name] && (e.ValueFrom != nil || e.Value == earlier || !strings.Contains(e.Value, earlier)) {
			l.add(path.Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		seen[e.Name] = true
	}
}

// ports warns of ports that containers of one pod claim twice.
func (l *list) ports(s *corev1.PodSpec, path *field.Path) {
	type claim struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	claims := map[string][]claim{}
	pod.EachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			here := claim{at.Child("ports").Index(i), p}
			if p.HostIP != "" && p.HostPort == 0 {
				l.add(here.at, "hostIP set without hostPort: %+v", p)
			}
			if p.HostIP != "" {
				*l = append(*l, validation.GetWarningsForIP(here.at.Child("hostIP"), p.HostIP)...)
			}
			key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			for _, other := range claims[key] {
				switch o := other.port; {
				case p.HostIP == o.HostIP && p.HostPort == o.HostPort:
					l.add(here.at, "duplicate port definition with %s", other.at)
				case p.HostPort == 0 || o.HostPort == 0:
					l.add(here.at, "overlapping port definition with %s", other.at)
				case p.HostPort == o.HostPort && (p.HostIP == "") != (o.HostIP == ""):
					l.add(here.at, "dangerously ambiguous port definition with %s", other.at)
				}
			}
			claims[key] = append(claims[key], here)
		}
	})
}

// references warns of what is named twice or not at all.
func (l *list) references(s *corev1.PodSpec, path *field.Path) {
	seen := map[string]bool{}
	for i, a := range s.HostAliases {
		at := path.Child("hostAliases").Index(i).Child("ip")
		if seen[a.IP] {
			l.add(at, "duplicate ip %q", a.IP)
		}
		seen[a.IP] = true
		*l = append(*l, validation.GetWarningsForIP(at, a.IP)...)
	}
	seen = map[string]bool{}
	for i, ref := range s.ImagePullSecrets {
		at := path.Child("imagePullSecrets").Index(i).Child("name")
		if seen[ref.Name] {
			l.add(at, "duplicate name %q", ref.Name)
		}
		seen[ref.Name] = true
		if ref.Name == "" {
			l.add(at, "invalid empty name %q", ref.Name)
		}
	}
	if s.DNSConfig != nil {
		for i, ns := range s.DNSConfig.Nameservers {
			*l = append(*l, validation.GetWarningsForIP(path.Child("dnsConfig", "nameservers").Index(i), ns)...)
		}
	}
}

// annotations warns of those that fields have replaced.
func (l *list) annotations(s *corev1.PodSpec, meta *metav1.ObjectMeta, path *field.Path) {
	at := path.Child("metadata", "annotations")
	for _, gone := range []struct{ key, message string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := meta.Annotations[gone.key]; ok {
			l.add(at.Key(gone.key), "%s", gone.message)
		}
	}
	const seccomp = `non-functional in v1.27+; use the "seccompProfile" field instead`
	sc := s.SecurityContext
	if _, ok := meta.Annotations[corev1.SeccompPodAnnotationKey]; ok && (sc == nil || sc.SeccompProfile == nil) {
		l.add(at.Key(corev1.SeccompPodAnnotationKey), seccomp)
	}
	pod.EachContainer(s, nil, func(c *corev1.Container, _ *field.Path) {
		key, csc := corev1.SeccompContainerAnnotationKeyPrefix+c.Name, c.SecurityContext
		if _, ok := meta.Annotations[key]; ok && (csc == nil || csc.SeccompProfile == nil) {
			l.add(at.Key(key), seccomp)
		}
		// A pod's own annotation becomes a field when it is created.
		key = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		has := sc != nil && sc.AppArmorProfile != nil || csc != nil && csc.AppArmorProfile != nil
		if _, ok := meta.Annotations[key]; ok && !has && path != nil {
			l.add(at.Key(key), appArmor)
		}
	})
}

const appArmor = `deprecated since v1.30; use the "appArmorProfile" field instead`

// AppArmorAnnotation warns of an annotation of a pod that names the profile of
// a container.
func AppArmorAnnotation(key string) string {
	return field.NewPath("metadata", "annotations").Key(key).String() + ": " + appArmor
}
