package scheduling

import (
	"fmt"
	"strings"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// PodGroup checks a new pod group.
func PodGroup(g *schedulingv1beta1.PodGroup) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&g.ObjectMeta, rule.Subdomain)}
	podGroupSpec(&l, &g.Spec, field.NewPath("spec"))
	return l.Errors
}

func podGroupSpec(l *check.List, s *schedulingv1beta1.PodGroupSpec, path *field.Path) {
	if ref := s.WorkloadRef; ref != nil {
		at := path.Child("workloadRef")
		required(l, at.Child("workloadName"), ref.WorkloadName, l.Subdomain)
		required(l, at.Child("templateName"), ref.TemplateName, l.Label)
	}
	policy(l, &s.SchedulingPolicy, path.Child("schedulingPolicy"))
	disruption(l, s.DisruptionMode, path.Child("disruptionMode"))
	priority(l, s.PriorityClassName, s.Priority, path)
}

func required(l *check.List, path *field.Path, value string, rule func(*field.Path, string)) {
	if value == "" {
		l.Required(path, "")
		return
	}
	rule(path, value)
}

func policy(l *check.List, p *schedulingv1beta1.PodGroupSchedulingPolicy, path *field.Path) {
	oneOf(l, path, []member{{"basic", p.Basic != nil}, {"gang", p.Gang != nil}})
	if p.Gang != nil && p.Gang.MinCount < 1 {
		if at := path.Child("gang", "minCount"); p.Gang.MinCount == 0 {
			l.Required(at, "")
		} else {
			l.Add(field.Invalid(at, p.Gang.MinCount, "must be greater than or equal to 1").WithOrigin("minimum"))
		}
	}
}

// member is a field of a union and whether it is set.
type member struct {
	name string
	set  bool
}

func oneOf(l *check.List, path *field.Path, members []member) {
	var names, set []string
	for _, m := range members {
		names = append(names, "`"+m.name+"`")
		if m.set {
			set = append(set, "`"+m.name+"`")
		}
	}
	switch {
	case len(set) == 0:
		l.Invalid(path, "", fmt.Sprintf("must specify one of: %s", strings.Join(names, ", ")))
	case len(set) > 1:
		l.Invalid(path, "{"+strings.Join(set, ", ")+"}", fmt.Sprintf("exactly one of %s is required, but multiple fields are set", strings.Join(names, ", ")))
	}
}

func disruption(l *check.List, m *schedulingv1beta1.DisruptionMode, path *field.Path) {
	if m != nil {
		oneOf(l, path, []member{{"single", m.Single != nil}, {"all", m.All != nil}})
	}
}

func priority(l *check.List, class string, value *int32, path *field.Path) {
	if class != "" {
		l.Subdomain(path.Child("priorityClassName"), class)
	}
	// Classes of the system are higher, and given by admission.
	if value != nil && *value > highestUser && !strings.HasPrefix(class, systemPrefix) {
		l.Invalid(path.Child("priority"), *value, fmt.Sprintf("must be less than or equal to %d", highestUser))
	}
}

// PodGroupUpdate checks a changed pod group: all but the least count of a gang
// is settled.
func PodGroupUpdate(g, old *schedulingv1beta1.PodGroup) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&g.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("spec")
	podGroupSpec(&l, &g.Spec, path)
	l.Add(rule.Immutable(g.Spec.WorkloadRef, old.Spec.WorkloadRef, path.Child("workloadRef"))...)
	policyUpdate(&l, &g.Spec.SchedulingPolicy, &old.Spec.SchedulingPolicy, path.Child("schedulingPolicy"))
	l.Add(rule.Immutable(g.Spec.DisruptionMode, old.Spec.DisruptionMode, path.Child("disruptionMode"))...)
	l.Add(rule.Immutable(g.Spec.PriorityClassName, old.Spec.PriorityClassName, path.Child("priorityClassName"))...)
	l.Add(rule.Immutable(g.Spec.Priority, old.Spec.Priority, path.Child("priority"))...)
	return l.Errors
}

func policyUpdate(l *check.List, p, old *schedulingv1beta1.PodGroupSchedulingPolicy, path *field.Path) {
	l.Add(rule.Immutable(p.Basic, old.Basic, path.Child("basic"))...)
	if (p.Gang == nil) != (old.Gang == nil) {
		l.Invalid(path.Child("gang"), p.Gang, "field is immutable")
	}
}

// PodGroupStatusUpdate checks what was observed of a pod group.
func PodGroupStatusUpdate(g, old *schedulingv1beta1.PodGroup) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&g.ObjectMeta, &old.ObjectMeta)}
	l.Add(metav1validation.ValidateConditions(g.Status.Conditions, field.NewPath("status", "conditions"))...)
	return l.Errors
}

// Workload checks a new workload.
func Workload(w *schedulingv1beta1.Workload) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&w.ObjectMeta, rule.Subdomain)}
	workloadSpec(&l, w, field.NewPath("spec"))
	return l.Errors
}

func workloadSpec(l *check.List, w *schedulingv1beta1.Workload, path *field.Path) {
	if ref := w.Spec.ControllerRef; ref != nil {
		at := path.Child("controllerRef")
		if ref.APIGroup != "" {
			l.Subdomain(at.Child("apiGroup"), ref.APIGroup)
		}
		segment := func(p *field.Path, v string) { l.Messages(p, v, pathvalidation.IsValidPathSegmentName(v)) }
		required(l, at.Child("kind"), ref.Kind, segment)
		required(l, at.Child("name"), ref.Name, segment)
	}
	at := path.Child("podGroupTemplates")
	switch n := len(w.Spec.PodGroupTemplates); {
	case n == 0:
		l.Required(at, "must have at least one item")
	case n > schedulingv1beta1.WorkloadMaxPodGroupTemplates:
		l.Add(field.TooMany(at, n, schedulingv1beta1.WorkloadMaxPodGroupTemplates).WithOrigin("maxItems"))
		return
	}
	seen := map[string]bool{}
	for i := range w.Spec.PodGroupTemplates {
		t, at := &w.Spec.PodGroupTemplates[i], at.Index(i)
		required(l, at.Child("name"), t.Name, l.Label)
		if seen[t.Name] {
			l.Duplicate(at, t.Name)
		}
		seen[t.Name] = true
		policy(l, &t.SchedulingPolicy, at.Child("schedulingPolicy"))
		disruption(l, t.DisruptionMode, at.Child("disruptionMode"))
		priority(l, t.PriorityClassName, t.Priority, at)
	}
}

// WorkloadUpdate checks a changed workload: templates neither come nor go, and
// of each only the least count of a gang may change.
func WorkloadUpdate(w, old *schedulingv1beta1.Workload) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&w.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("spec")
	workloadSpec(&l, w, path)
	l.Add(rule.Immutable(w.Spec.ControllerRef, old.Spec.ControllerRef, path.Child("controllerRef"))...)
	before := map[string]*schedulingv1beta1.PodGroupTemplate{}
	for i := range old.Spec.PodGroupTemplates {
		before[old.Spec.PodGroupTemplates[i].Name] = &old.Spec.PodGroupTemplates[i]
	}
	path = path.Child("podGroupTemplates")
	for i := range w.Spec.PodGroupTemplates {
		t, at := &w.Spec.PodGroupTemplates[i], path.Index(i)
		was := before[t.Name]
		if was == nil {
			l.Forbidden(at, "items may not be added")
			continue
		}
		delete(before, t.Name)
		policyUpdate(&l, &t.SchedulingPolicy, &was.SchedulingPolicy, at.Child("schedulingPolicy"))
		l.Add(rule.Immutable(t.DisruptionMode, was.DisruptionMode, at.Child("disruptionMode"))...)
		l.Add(rule.Immutable(t.PriorityClassName, was.PriorityClassName, at.Child("priorityClassName"))...)
		l.Add(rule.Immutable(t.Priority, was.Priority, at.Child("priority"))...)
	}
	if len(before) > 0 {
		l.Forbidden(path, "items may not be removed")
	}
	return l.Errors
}
