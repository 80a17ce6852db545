package demand

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// MaxImages is how many of a pod's images are scored by where they are.
const MaxImages = 32

// Images are the images of a pod's containers, and those that it mounts.
func Images(spec *corev1.PodSpec) []string {
	var out []string
	add := func(image string) {
		if len(out) < MaxImages && image != "" {
			out = append(out, WithTag(image))
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			add(list[i].Image)
		}
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			add(v.Reference)
		}
	}
	return out
}

// WithTag is an image's name with the tag that it has when it names none.
func WithTag(image string) string {
	if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
		return image + ":latest"
	}
	return image
}
