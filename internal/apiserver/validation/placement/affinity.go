package placement

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Affinity checks which nodes and which other pods a pod wants to be near to
// or far from.
func Affinity(a *corev1.Affinity, path *field.Path) field.ErrorList {
	var l check.List
	if a == nil {
		return nil
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		at := path.Child("nodeAffinity")
		if s := n.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
			l.Add(NodeSelector(s, false, at.Child(required))...)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			t, tp := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], at.Child(preferred).Index(i)
			weight(&l, t.Weight, tp)
			nodeTerm(&l, &t.Preference, true, tp.Child("preference"))
		}
	}
	if p := a.PodAffinity; p != nil {
		at := path.Child("podAffinity")
		podTerms(&l, p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required))
		weighted(&l, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred))
	}
	if p := a.PodAntiAffinity; p != nil {
		at := path.Child("podAntiAffinity")
		podTerms(&l, p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required))
		weighted(&l, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child(preferred))
	}
	return l.Errors
}

func weight(l *check.List, w int32, path *field.Path) {
	if w <= 0 || w > 100 {
		l.Invalid(path.Child("weight"), w, "must be in the range 1-100")
	}
}

func podTerms(l *check.List, terms []corev1.PodAffinityTerm, path *field.Path) {
	for i := range terms {
		podTerm(l, &terms[i], path.Index(i))
	}
}

func weighted(l *check.List, terms []corev1.WeightedPodAffinityTerm, path *field.Path) {
	for i := range terms {
		weight(l, terms[i].Weight, path.Index(i))
		podTerm(l, &terms[i].PodAffinityTerm, path.Index(i).Child("podAffinityTerm"))
	}
}

func podTerm(l *check.List, t *corev1.PodAffinityTerm, path *field.Path) {
	l.Add(check.Selector(t.LabelSelector, false, path.Child("labelSelector"))...)
	l.Add(check.Selector(t.NamespaceSelector, false, path.Child("namespaceSelector"))...)
	for _, name := range t.Namespaces {
		l.Messages(path.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))
	}
	labelKeys(l, t, path)
	if t.TopologyKey == "" {
		l.Required(path.Child("topologyKey"), "can not be empty")
	}
	l.Add(check.LabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

func labelKeys(l *check.List, t *corev1.PodAffinityTerm, path *field.Path) {
	for _, list := range []struct {
		name string
		keys []string
	}{{"matchLabelKeys", t.MatchLabelKeys}, {"mismatchLabelKeys", t.MismatchLabelKeys}} {
		if len(list.keys) > 0 && t.LabelSelector == nil {
			l.Forbidden(path.Child(list.name), "must not be specified when labelSelector is not set")
			continue
		}
		for i, key := range list.keys {
			l.Add(check.LabelName(key, path.Child(list.name).Index(i))...)
		}
	}
	keysTwice(l, t.MatchLabelKeys, t.LabelSelector, path)
	mismatch := sets.New(t.MismatchLabelKeys...)
	for i, key := range t.MatchLabelKeys {
		if mismatch.Has(key) {
			l.Invalid(path.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}
