package tainteviction

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// evicting are the taints of a node that drive pods off.
func evicting(node *corev1.Node) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

// tolerance says how long a pod stands these taints: false is for ever. Of the
// tolerations that cover a taint the first counts.
func tolerance(pod *corev1.Pod, taints []corev1.Taint) (time.Duration, bool) {
	limited := false
	var least time.Duration
	for i := range taints {
		first := slices.IndexFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
			return t.ToleratesTaint(klog.Background(), &taints[i], false)
		})
		if first < 0 {
			return 0, true
		}
		seconds := pod.Spec.Tolerations[first].TolerationSeconds
		if seconds == nil {
			continue
		}
		d := max(time.Duration(*seconds)*time.Second, 0)
		if !limited || d < least {
			limited, least = true, d
		}
	}
	return least, limited
}
