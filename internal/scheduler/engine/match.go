package engine

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

type podSelector = labels.Selector

// matcher says which pods a term speaks of: those in the namespaces, or in
// namespaces with the labels, that have the labels.
type matcher struct {
	namespaces []string    // sorted
	nsSelector podSelector // nil: namespaces alone count
	selector   podSelector
}

func (m *matcher) id() string {
	var b strings.Builder
	b.WriteString(strings.Join(m.namespaces, ","))
	b.WriteByte('|')
	if m.nsSelector != nil {
		b.WriteString("?" + m.nsSelector.String())
	}
	b.WriteByte('|')
	b.WriteString(m.selector.String())
	if m.selector.Empty() {
		// An empty selector is everything; one for nothing prints the same.
		if m.selector.Matches(labels.Set{}) {
			b.WriteByte('*')
		}
	} else if !matchable(m.selector) {
		b.WriteByte('!')
	}
	return b.String()
}

func matchable(s podSelector) bool { _, ok := s.Requirements(); return ok }

func (m *matcher) matches(namespace string, set labels.Set, namespaceLabels NamespaceLabels) bool {
	inNamespace := slices.Contains(m.namespaces, namespace) ||
		(m.nsSelector != nil && (m.nsSelector.Empty() || m.nsSelector.Matches(labels.Set(namespaceLabels(namespace)))))
	return inNamespace && m.selector.Matches(set)
}

// pair is a label with its value.
type pair struct{ key, value string }

// anchor is a label that every pod the matcher accepts must have, if there is
// one: it finds matchers by a pod's labels.
func (m *matcher) anchor() (pair, bool) {
	requirements, _ := m.selector.Requirements()
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.Values(); values.Len() == 1 {
				return pair{r.Key(), values.UnsortedList()[0]}, true
			}
		}
	}
	return pair{}, false
}

func (m *matcher) keys() []string {
	requirements, _ := m.selector.Requirements()
	out := make([]string, 0, len(requirements))
	for _, r := range requirements {
		out = append(out, r.Key())
	}
	return out
}

// podTerm is a term of inter-pod affinity made ready.
type podTerm struct {
	matcher
	key    string // the topology's
	weight int64  // of a preference
}

func compileTerm(owner *corev1.Pod, t *corev1.PodAffinityTerm, weight int32) podTerm {
	out := podTerm{key: t.TopologyKey, weight: int64(weight)}
	out.namespaces = slices.Sorted(slices.Values(t.Namespaces))
	out.selector = labels.Nothing()
	// A malformed selector was refused by validation; here it matches nothing.
	if s, ok := selectorOf(t.LabelSelector); ok {
		out.selector = withLabelKeys(s, owner, t.MatchLabelKeys, t.MismatchLabelKeys)
	}
	if t.NamespaceSelector != nil {
		if s, ok := selectorOf(t.NamespaceSelector); ok {
			out.nsSelector = s
		}
	}
	if len(out.namespaces) == 0 && t.NamespaceSelector == nil {
		out.namespaces = []string{owner.Namespace}
	}
	return out
}

// withLabelKeys narrows a selector to pods that have (or have not) the same
// value as owner under the given keys.
func withLabelKeys(s podSelector, owner *corev1.Pod, same, other []string) podSelector {
	narrow := func(keys []string, op selection.Operator) {
		for _, key := range keys {
			value, ok := owner.Labels[key]
			if !ok {
				continue
			}
			if req, err := labels.NewRequirement(key, op, []string{value}); err == nil {
				s = s.Add(*req)
			}
		}
	}
	narrow(same, selection.In)
	narrow(other, selection.NotIn)
	return s
}

// podTerms are all terms of inter-pod affinity that a pod has.
type podTerms struct {
	affinity, anti             []podTerm
	preferAffinity, preferAnti []podTerm
}

func termsOf(pod *corev1.Pod) podTerms {
	var out podTerms
	a := pod.Spec.Affinity
	if a == nil {
		return out
	}
	if p := a.PodAffinity; p != nil {
		out.affinity = required(pod, p.RequiredDuringSchedulingIgnoredDuringExecution)
		out.preferAffinity = preferred(pod, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		out.anti = required(pod, p.RequiredDuringSchedulingIgnoredDuringExecution)
		out.preferAnti = preferred(pod, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return out
}

func required(pod *corev1.Pod, terms []corev1.PodAffinityTerm) []podTerm {
	out := make([]podTerm, 0, len(terms))
	for i := range terms {
		out = append(out, compileTerm(pod, &terms[i], 0))
	}
	return out
}

func preferred(pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm) []podTerm {
	out := make([]podTerm, 0, len(terms))
	for i := range terms {
		if terms[i].Weight != 0 {
			out = append(out, compileTerm(pod, &terms[i].PodAffinityTerm, terms[i].Weight))
		}
	}
	return out
}

func spreadMatcher(pod *corev1.Pod, c *corev1.TopologySpreadConstraint, byOwner podSelector) matcher {
	m := matcher{namespaces: []string{pod.Namespace}, selector: labels.Nothing()}
	if byOwner != nil {
		m.selector = byOwner
	} else if s, ok := selectorOf(c.LabelSelector); ok {
		m.selector = withLabelKeys(s, pod, c.MatchLabelKeys, nil)
	}
	return m
}

// counted is what a spread constraint counts of the pods that are there. One that
// selects every pod counts none of them, as kube-scheduler has it, though it does
// count the pod itself.
func (m matcher) counted() matcher {
	if m.selector.Empty() {
		m.selector = labels.Nothing()
	}
	return m
}
