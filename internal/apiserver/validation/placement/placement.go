// Package placement validates what says where pods may run: node selectors,
// affinity, tolerations, taints and topology spread. It is pure, and knows
// nothing of the nodes that there are.
package placement

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// NodeSelector checks a node selector, of which one term has to hold.
// anyValues tolerates values that no label can have.
func NodeSelector(s *corev1.NodeSelector, anyValues bool, path *field.Path) field.ErrorList {
	var l check.List
	terms := path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		l.Required(terms, "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		nodeTerm(&l, &s.NodeSelectorTerms[i], anyValues, terms.Index(i))
	}
	return l.Errors
}

func nodeTerm(l *check.List, t *corev1.NodeSelectorTerm, anyValues bool, path *field.Path) {
	for i := range t.MatchExpressions {
		nodeRequirement(l, &t.MatchExpressions[i], anyValues, path.Child("matchExpressions").Index(i))
	}
	for i := range t.MatchFields {
		nodeField(l, &t.MatchFields[i], path.Child("matchFields").Index(i))
	}
}

func nodeRequirement(l *check.List, r *corev1.NodeSelectorRequirement, anyValues bool, path *field.Path) {
	values := path.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			l.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			l.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			l.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		l.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
	}
	l.Add(check.LabelName(r.Key, path.Child("key"))...)
	if anyValues {
		return
	}
	for i, v := range r.Values {
		l.Messages(values.Index(i), v, validation.IsValidLabelValue(v))
	}
}

// nodeField checks a requirement on a field of the node; its name is the only
// one that may be selected by.
func nodeField(l *check.List, r *corev1.NodeSelectorRequirement, path *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			l.Required(path.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		l.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		l.Invalid(path.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, v := range r.Values {
		l.Subdomain(path.Child("values").Index(i), v)
	}
}

// TopologyTerms checks the topologies that volumes of a class may lie in.
func TopologyTerms(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var l check.List
	for i := range terms {
		at := path.Index(i).Child("matchLabelExpressions")
		keys := sets.New[string]()
		for j := range terms[i].MatchLabelExpressions {
			r, rp := &terms[i].MatchLabelExpressions[j], at.Index(j)
			if len(r.Values) == 0 {
				l.Required(rp.Child("values"), "")
			}
			seen := sets.New[string]()
			for k, v := range r.Values {
				if seen.Has(v) {
					l.Duplicate(rp.Child("values").Index(k), v)
				}
				seen.Insert(v)
			}
			l.Add(check.LabelName(r.Key, rp.Child("key"))...)
			if keys.Has(r.Key) {
				l.Duplicate(rp.Child("key"), r.Key)
			}
			keys.Insert(r.Key)
		}
	}
	return l.Errors
}

func effect(l *check.List, e corev1.TaintEffect, path *field.Path) {
	if e != corev1.TaintEffectNoSchedule && e != corev1.TaintEffectPreferNoSchedule && e != corev1.TaintEffectNoExecute {
		l.Add(field.NotSupported(path, e, []corev1.TaintEffect{
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute,
		}))
	}
}

// Tolerations checks which taints a pod puts up with.
func Tolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	var l check.List
	for i := range tolerations {
		t, at := &tolerations[i], path.Index(i)
		if t.Key != "" {
			l.Add(check.LabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			l.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			l.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
				l.Invalid(at.Child("operator"), t.Value, strings.Join(messages, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				l.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			// Known, and not switched on: the message names them all the same.
			l.Add(field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt,
			}))
		default:
			l.Add(field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			effect(&l, t.Effect, at.Child("effect"))
		}
	}
	return l.Errors
}

// Taints checks what keeps pods off a node.
func Taints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var l check.List
	type pair struct{ key, effect string }
	seen := sets.New[pair]()
	for i := range taints {
		t, at := &taints[i], path.Index(i)
		l.Add(check.LabelName(t.Key, at.Child("key"))...)
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			l.Invalid(at.Child("value"), t.Value, strings.Join(messages, ";"))
		}
		if t.Effect == "" {
			l.Required(at.Child("effect"), "")
		} else {
			effect(&l, t.Effect, at.Child("effect"))
		}
		if p := (pair{t.Key, string(t.Effect)}); seen.Has(p) {
			duplicate := field.Duplicate(at, *t)
			duplicate.Detail = "taints must be unique by key and effect pair"
			l.Add(duplicate)
		} else {
			seen.Insert(p)
		}
	}
	return l.Errors
}

// Spread checks how the pods of a group are to be spread.
func Spread(constraints []corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	var l check.List
	for i := range constraints {
		c, at := &constraints[i], path.Index(i)
		if c.MaxSkew <= 0 {
			l.Invalid(at.Child("maxSkew"), c.MaxSkew, check.MustBePositive)
		}
		if c.TopologyKey == "" {
			l.Required(at.Child("topologyKey"), "can not be empty")
		}
		check.OneOf(&l, at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		for _, other := range constraints[i+1:] {
			if c.TopologyKey == other.TopologyKey && c.WhenUnsatisfiable == other.WhenUnsatisfiable {
				l.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable))
				break
			}
		}
		spreadDetails(&l, c, at)
	}
	return l.Errors
}

func spreadDetails(l *check.List, c *corev1.TopologySpreadConstraint, path *field.Path) {
	if n := c.MinDomains; n != nil {
		if *n <= 0 {
			l.Invalid(path.Child("minDomains"), *n, check.MustBePositive)
		}
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			l.Invalid(path.Child("minDomains"), *n, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable))
		}
	}
	if p := c.NodeAffinityPolicy; p != nil {
		check.OneOf(l, path.Child("nodeAffinityPolicy"), *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	}
	if p := c.NodeTaintsPolicy; p != nil {
		check.OneOf(l, path.Child("nodeTaintsPolicy"), *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	}
	keys := path.Child("matchLabelKeys")
	if len(c.MatchLabelKeys) > 0 && c.LabelSelector == nil {
		l.Forbidden(keys, "must not be specified when labelSelector is not set")
	}
	for i, key := range c.MatchLabelKeys {
		l.Add(check.LabelName(key, keys.Index(i))...)
	}
	keysTwice(l, c.MatchLabelKeys, c.LabelSelector, keys)
	l.Add(check.Selector(c.LabelSelector, false, path.Child("labelSelector"))...)
}

// keysTwice refuses a key that the author selects by besides naming it in
// matchLabelKeys. The server has already added one expression for each key.
func keysTwice(l *check.List, keys []string, s *metav1.LabelSelector, path *field.Path) {
	if s == nil {
		return
	}
	used := map[string]int{}
	for key := range s.MatchLabels {
		used[key] += 2
	}
	for _, e := range s.MatchExpressions {
		used[e.Key]++
	}
	for i, key := range keys {
		if used[key] > 1 {
			l.Invalid(path.Index(i), key, "exists in both matchLabelKeys and labelSelector")
		}
	}
}
