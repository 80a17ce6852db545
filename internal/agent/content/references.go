package content

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/podrefs"
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
	podrefs.Visitor{
		Secret:    func(name string) { add(secret, name) },
		ConfigMap: func(name string) { add(configMap, name) },
	}.Containers(pod)
	return refs
}
