// Package scheduling decides whether priority classes, pod groups, workloads and
// runtime classes are valid, in the field paths and words that Kubernetes uses.
// Its functions are pure.
package scheduling

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
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
	l.Label(field.NewPath("handler"), c.Handler)
	if o := c.Overhead; o != nil {
		at := field.NewPath("overhead", "podFixed")
		for _, name := range check.Keys(o.PodFixed) {
			l.ContainerResourceName(at.Key(string(name)), name)
			l.Quantity(at.Key(string(name)), name, o.PodFixed[name])
		}
	}
	if s := c.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		l.Add(check.Labels(s.NodeSelector, at.Child("nodeSelector"))...)
		l.Add(placement.Tolerations(s.Tolerations, at.Child("tolerations"))...)
	}
	return l.Errors
}

// RuntimeClassUpdate checks a changed runtime class.
func RuntimeClassUpdate(c, old *nodev1.RuntimeClass) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), rule.Immutable(c.Handler, old.Handler, field.NewPath("handler")))
}
