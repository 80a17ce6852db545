// Package scheduling decides whether priority classes, pod groups, workloads and
// runtime classes are valid, in the field paths and words that Kubernetes uses.
// Its functions are pure.
package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// What the system keeps for itself.
const (
	systemPrefix     = "system-"
	highestUser      = int32(1000000000)
	clusterCritical  = 2 * highestUser
	nodeCritical     = clusterCritical + 1000
	clusterCriticalN = "system-cluster-critical"
	nodeCriticalN    = "system-node-critical"
)

// PriorityClass checks a new class.
func PriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	system := c.Name == clusterCriticalN && c.Value == clusterCritical || c.Name == nodeCriticalN && c.Value == nodeCritical
	switch {
	case strings.HasPrefix(c.Name, systemPrefix) && !system:
		l.Forbidden(field.NewPath("metadata", "name"), "priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+c.Name+" is not a known system priority class")
	case !system && c.Value > highestUser:
		l.Forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000")
	}
	if p := c.PreemptionPolicy; p != nil {
		check.RequiredOneOf(&l, field.NewPath("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return l.Errors
}

// PriorityClassUpdate checks a changed class: pods carry its value already.
func PriorityClassUpdate(c, old *schedulingv1.PriorityClass) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if c.Value != old.Value {
		l.Forbidden(field.NewPath("value"), "may not be changed in an update.")
	}
	l.Add(rule.Immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	return l.Errors
}

// RuntimeClass checks a new runtime class.
func RuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	if c.Handler == "" {
		l.Required(field.NewPath("handler"), "")
	} else {
		l.Label(field.NewPath("handler"), c.Handler)
	}
	if c.Overhead != nil {
		overhead(&l, c.Overhead.PodFixed, field.NewPath("overhead"))
	}
	if s := c.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		l.Add(check.Labels(s.NodeSelector, at.Child("nodeSelector"))...)
		l.Add(placement.Tolerations(s.Tolerations, at.Child("tolerations"))...)
		seen := sets.New[corev1.Toleration]()
		for i, t := range s.Tolerations {
			t.TolerationSeconds = nil
			if seen.Has(t) {
				l.Duplicate(at.Child("tolerations").Index(i), s.Tolerations[i])
			}
			seen.Insert(t)
		}
	}
	return l.Errors
}

// overhead checks what a pod costs beside its containers, as limits are checked.
func overhead(l *check.List, fixed corev1.ResourceList, path *field.Path) {
	computes, hugePages := false, false
	for _, name := range check.Keys(fixed) {
		q, at := fixed[name], path.Child("limits").Key(string(name))
		l.ContainerResourceName(at, name)
		l.Quantity(at, name, q)
		computes = computes || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		if check.IsHugePage(name) {
			hugePages = true
			if !check.HugePagesDivide(name, q) {
				l.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name))
			}
		}
	}
	if hugePages && !computes {
		l.Forbidden(path, "HugePages require cpu or memory")
	}
}

// RuntimeClassUpdate checks a changed runtime class.
func RuntimeClassUpdate(c, old *nodev1.RuntimeClass) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), RuntimeClass(c), rule.Immutable(c.Handler, old.Handler, field.NewPath("handler")))
}
