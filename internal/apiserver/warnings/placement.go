package warnings

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// oldLabel says what became of a label of nodes that is no longer set.
func oldLabel(key string) (string, bool) {
	since := func(version, now string) string {
		return "deprecated since " + version + `; use "` + now + `" instead`
	}
	switch key {
	case "beta.kubernetes.io/arch":
		return since("v1.14", "kubernetes.io/arch"), true
	case "beta.kubernetes.io/os":
		return since("v1.14", "kubernetes.io/os"), true
	case "failure-domain.beta.kubernetes.io/region":
		return since("v1.17", "topology.kubernetes.io/region"), true
	case "failure-domain.beta.kubernetes.io/zone":
		return since("v1.17", "topology.kubernetes.io/zone"), true
	case "beta.kubernetes.io/instance-type":
		return since("v1.17", "node.kubernetes.io/instance-type"), true
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9", true
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead", true
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`, true
	}
	return "", false
}

// placement warns of where a pod asks to run.
func (l *list) placement(s *corev1.PodSpec, path *field.Path) {
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		if message, old := oldLabel(key); old {
			l.add(path.Child("nodeSelector").Key(key), "%s", message)
		}
	}
	for i, c := range s.TopologySpreadConstraints {
		at := path.Child("topologySpreadConstraints").Index(i)
		l.key(c.TopologyKey, at.Child("topologyKey"))
		l.selector(c.LabelSelector, at)
	}
	a := s.Affinity
	if a == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	at := path.Child("affinity")
	if n := a.NodeAffinity; n != nil {
		l.nodes(n.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("nodeAffinity", required))
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			l.term(t.Preference, true, at.Child("nodeAffinity", preferred).Index(i).Child("preference"))
		}
	}
	pods := func(name string, hard []corev1.PodAffinityTerm, soft []corev1.WeightedPodAffinityTerm) {
		for i, t := range hard {
			l.selector(t.LabelSelector, at.Child(name, required).Index(i))
		}
		for i, t := range soft {
			l.selector(t.PodAffinityTerm.LabelSelector, at.Child(name, preferred).Index(i).Child("podAffinityTerm"))
		}
	}
	if p := a.PodAffinity; p != nil {
		pods("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		pods("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (l *list) key(key string, at *field.Path) {
	if message, old := oldLabel(key); old {
		l.add(at, "%s is %s", key, message)
	}
}

func (l *list) selector(s *metav1.LabelSelector, at *field.Path) {
	if s == nil {
		l.add(at.Child("labelSelector"), "a null labelSelector results in matching no pod")
	}
}

func (l *list) nodes(s *corev1.NodeSelector, at *field.Path) {
	if s == nil {
		return
	}
	for i, t := range s.NodeSelectorTerms {
		l.term(t, false, at.Child("nodeSelectorTerms").Index(i))
	}
}

// term warns of a node selector term. values says that values that no label
// can have are let in, and so are worth a warning.
func (l *list) term(t corev1.NodeSelectorTerm, values bool, at *field.Path) {
	for i, e := range t.MatchExpressions {
		here := at.Child("matchExpressions").Index(i)
		l.key(e.Key, here.Child("key"))
		for j, v := range e.Values {
			if messages := validation.IsValidLabelValue(v); values && len(messages) > 0 {
				for _, m := range messages {
					l.add(here.Child("values").Index(j), "%s is invalid, %s", v, m)
				}
			}
		}
	}
}
