package tokencleaner

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/podrefs"
)

// references returns the secrets that pods name.
func references(pods []corev1.Pod) map[types.NamespacedName]bool {
	out := map[types.NamespacedName]bool{}
	for i := range pods {
		pod := &pods[i]
		podrefs.Visitor{
			Secret:    func(name string) { out[types.NamespacedName{Namespace: pod.Namespace, Name: name}] = true },
			ConfigMap: func(string) {},
		}.Pod(pod)
	}
	return out
}
