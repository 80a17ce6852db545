package tainteviction

import (
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

// tolerance says how long a pod stands these taints: false is for ever.
func tolerance(pod *corev1.Pod, taints []corev1.Taint) (time.Duration, bool) {
	limited := false
	var least time.Duration
	for i := range taints {
		tolerated := false
		for j := range pod.Spec.Tolerations {
			t := &pod.Spec.Tolerations[j]
			if !t.ToleratesTaint(klog.Background(), &taints[i], false) {
				continue
			}
			tolerated = true
			if t.TolerationSeconds == nil {
				continue
			}
			d := max(time.Duration(*t.TolerationSeconds)*time.Second, 0)
			if !limited || d < least {
				limited, least = true, d
			}
		}
		if !tolerated {
			return 0, true
		}
	}
	return least, limited
}

// since is from when the pod has had to stand the taints: each counts from when
// it was put on, but not before the pod came to be.
func since(pod *corev1.Pod, taints []corev1.Taint, seen time.Time) time.Time {
	var last time.Time
	for _, t := range taints {
		added := seen
		if t.TimeAdded != nil {
			added = t.TimeAdded.Time
		}
		if added.After(last) {
			last = added
		}
	}
	if pod.CreationTimestamp.After(last) {
		last = pod.CreationTimestamp.Time
	}
	return last
}
