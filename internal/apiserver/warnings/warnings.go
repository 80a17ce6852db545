// Package warnings tells writers what of an object is accepted and still
// probably not what they mean: values that occur twice, and fields that do
// nothing any more. It refuses nothing and is pure.
package warnings

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Pod warns of a pod.
func Pod(p *corev1.Pod) []string { return podSpec(&p.Spec, field.NewPath("spec")) }

// Template warns of the pods that a workload makes.
func Template(t *corev1.PodTemplateSpec, path *field.Path) []string {
	return podSpec(&t.Spec, path.Child("spec"))
}

func podSpec(s *corev1.PodSpec, path *field.Path) []string {
	var out []string
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
		ports := map[string]*field.Path{}
		for i := range list.containers {
			c, at := &list.containers[i], path.Child(list.name).Index(i)
			out = append(out, environment(c.Env, at.Child("env"))...)
			for j, p := range c.Ports {
				here, key := at.Child("ports").Index(j), fmt.Sprintf("%s/%d/%d/%s", p.Protocol, p.ContainerPort, p.HostPort, p.HostIP)
				if first, twice := ports[key]; twice {
					out = append(out, fmt.Sprintf("%s: duplicate port definition with %s", here, first))
				} else {
					ports[key] = here
				}
			}
		}
	}
	for i, h := range s.ImagePullSecrets {
		if h.Name == "" {
			out = append(out, fmt.Sprintf("%s: invalid empty name %q", path.Child("imagePullSecrets").Index(i).Child("name"), h.Name))
		}
	}
	for _, key := range []string{"beta.kubernetes.io/arch", "beta.kubernetes.io/os"} {
		if _, ok := s.NodeSelector[key]; ok {
			out = append(out, fmt.Sprintf("%s: deprecated since v1.14; use %q instead", path.Child("nodeSelector").Key(key), "kubernetes.io/"+key[len("beta.kubernetes.io/"):]))
		}
	}
	return out
}

// environment warns of names that a later entry hides.
func environment(list []corev1.EnvVar, path *field.Path) []string {
	var out []string
	seen := map[string]bool{}
	for i, e := range list {
		if seen[e.Name] {
			out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be unexpected", path.Index(i), e.Name))
		}
		seen[e.Name] = true
	}
	return out
}
