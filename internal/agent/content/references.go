package content

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/volumes"
)

type kind string

const (
	configMap kind = "ConfigMap"
	secret    kind = "Secret"
)

// key names an object.
type key struct {
	kind            kind
	namespace, name string
}

type keys map[key]struct{}

// references are the objects that a pod refers to.
func references(pod *corev1.Pod) keys {
	refs := keys{}
	add := func(k kind, name string) {
		if name != "" {
			refs[key{k, pod.Namespace, name}] = struct{}{}
		}
	}
	configMaps, secrets := volumes.References(pod)
	for _, name := range configMaps {
		add(configMap, name)
	}
	for _, name := range secrets {
		add(secret, name)
	}
	for _, ref := range pod.Spec.ImagePullSecrets {
		add(secret, ref.Name)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			environment(list[i].Env, list[i].EnvFrom, add)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		environment(c.Env, c.EnvFrom, add)
	}
	return refs
}

func environment(vars []corev1.EnvVar, from []corev1.EnvFromSource, add func(kind, string)) {
	for i := range vars {
		source := vars[i].ValueFrom
		switch {
		case source == nil:
		case source.ConfigMapKeyRef != nil:
			add(configMap, source.ConfigMapKeyRef.Name)
		case source.SecretKeyRef != nil:
			add(secret, source.SecretKeyRef.Name)
		}
	}
	for i := range from {
		switch {
		case from[i].ConfigMapRef != nil:
			add(configMap, from[i].ConfigMapRef.Name)
		case from[i].SecretRef != nil:
			add(secret, from[i].SecretRef.Name)
		}
	}
}
