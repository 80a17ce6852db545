package pod

import (
	"fmt"
	"math"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// updatable names what of a pod's spec may change, for people.
func updatable() []string {
	return []string{
		"`spec.containers[*].image`",
		"`spec.initContainers[*].image`",
		"`spec.activeDeadlineSeconds`",
		"`spec.tolerations` (only additions to existing tolerations)",
		"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
	}
}

// Update checks a changed pod: hardly anything of it may change.
func Update(p, old *corev1.Pod) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	l.Add(whole(p)...)
	mirrorStays(&l, p, old)
	path := field.NewPath("spec")
	for _, list := range []struct {
		name     string
		now, old []corev1.Container
	}{{"containers", p.Spec.Containers, old.Spec.Containers}, {"initContainers", p.Spec.InitContainers, old.Spec.InitContainers}} {
		if len(list.now) != len(list.old) {
			l.Forbidden(path.Child(list.name), "pod updates may not add or remove containers")
			return l.Errors
		}
	}
	if !deadlineShrinks(&l, p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds")) {
		return l.Errors
	}
	tolerationsGrow(&l, p.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))
	gatesShrink(&l, p.Spec.SchedulingGates, old.Spec.SchedulingGates, path.Child("schedulingGates"))
	if apiequality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return l.Errors
	}
	now := muted(&l, p, old, path)
	if !apiequality.Semantic.DeepEqual(now, old.Spec) {
		l.Forbidden(path, fmt.Sprintf("pod updates may not change fields other than %s\n%v", strings.Join(updatable(), ","), cmp.Diff(old.Spec, now)))
	}
	return l.Errors
}

// muted is the spec of p with all that may change set back to old's.
func muted(l *check.List, p, old *corev1.Pod, path *field.Path) corev1.PodSpec {
	s := *p.Spec.DeepCopy()
	for i := range s.Containers {
		s.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range s.InitContainers {
		s.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	s.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	s.SchedulingGates = old.Spec.SchedulingGates
	s.Tolerations = old.Spec.Tolerations
	if check.Deref(old.Spec.TerminationGracePeriodSeconds, 0) < 0 && check.Deref(s.TerminationGracePeriodSeconds, 0) == 1 {
		s.TerminationGracePeriodSeconds = old.Spec.TerminationGracePeriodSeconds
	}
	if len(old.Spec.SchedulingGates) == 0 {
		return s
	}
	// Until a pod may be scheduled, its author may still narrow down where.
	for key, value := range old.Spec.NodeSelector {
		if now, ok := s.NodeSelector[key]; !ok || now != value {
			l.Invalid(path.Child("nodeSelector"), s.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	s.NodeSelector = old.Spec.NodeSelector
	before, now := nodeAffinity(&old.Spec), nodeAffinity(&s)
	if apiequality.Semantic.DeepEqual(before, now) {
		return s
	}
	affinityNarrows(l, now, before, path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"))
	switch {
	case s.Affinity == nil:
		s.Affinity = &corev1.Affinity{NodeAffinity: before}
	case old.Spec.Affinity == nil && s.Affinity.PodAffinity == nil && s.Affinity.PodAntiAffinity == nil:
		s.Affinity = nil
	default:
		s.Affinity.NodeAffinity = before
	}
	return s
}

func nodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func affinityNarrows(l *check.List, now, before *corev1.NodeAffinity, path *field.Path) {
	terms := func(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
		if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
			return nil
		}
		return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	was, is := terms(before), terms(now)
	if len(was) == 0 {
		return
	}
	if len(was) != len(is) {
		l.Invalid(path, is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	begins := func(is, was []corev1.NodeSelectorRequirement) bool {
		return len(is) >= len(was) && (len(was) == 0 || apiequality.Semantic.DeepEqual(is[:len(was)], was))
	}
	for i := range was {
		// A term without requirements matches nothing: adding one widens it.
		empty := len(was[i].MatchExpressions) == 0 && len(was[i].MatchFields) == 0
		widened := empty && len(is[i].MatchExpressions)+len(is[i].MatchFields) > 0
		if widened || !begins(is[i].MatchExpressions, was[i].MatchExpressions) || !begins(is[i].MatchFields, was[i].MatchFields) {
			l.Invalid(path.Index(i), is[i], "only additions are allowed (no mutations or deletions)")
		}
	}
}

// mirrorStays checks the annotations that are not the author's to change.
func mirrorStays(l *check.List, p, old *corev1.Pod) {
	profilesStay(l, p, old)
	path := field.NewPath("metadata", "annotations").Key(corev1.MirrorPodAnnotationKey)
	before, was := old.Annotations[corev1.MirrorPodAnnotationKey]
	now, is := p.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case was && (!is || now != before):
		l.Forbidden(path, "may not remove or update mirror pod annotation")
	case is && !was:
		l.Forbidden(path, "may not add mirror pod annotation")
	}
}

// deadlineShrinks checks that a deadline is only set or brought nearer; it
// tells whether it makes sense to look further.
func deadlineShrinks(l *check.List, now, old *int64, path *field.Path) bool {
	switch {
	case now == nil && old != nil:
		l.Invalid(path, now, "must not update from a positive integer to nil value")
	case now == nil:
	case *now < 0 || *now > math.MaxInt32:
		l.Invalid(path, *now, validation.InclusiveRangeError(0, math.MaxInt32))
		return false
	case old != nil && *old < *now:
		l.Invalid(path, *now, "must be less than or equal to previous value")
		return false
	}
	return true
}

func tolerationsGrow(l *check.List, now, old []corev1.Toleration, path *field.Path) {
	for _, before := range old {
		found := false
		for _, t := range now {
			before.TolerationSeconds = t.TolerationSeconds
			if apiequality.Semantic.DeepEqual(before, t) {
				found = true
				break
			}
		}
		if !found {
			l.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

func gatesShrink(l *check.List, now, old []corev1.PodSchedulingGate, path *field.Path) {
	had := map[string]bool{}
	for _, g := range old {
		had[g.Name] = true
	}
	for i, g := range now {
		if !had[g.Name] {
			l.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
		}
	}
}

// EphemeralContainersUpdate checks an update that may add debugging containers
// and change nothing else.
func EphemeralContainersUpdate(p, old *corev1.Pod) field.ErrorList {
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	l := check.List{Errors: check.ObjectMetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	l.Add(whole(p)...)
	mirrorStays(&l, p, old)
	path := field.NewPath("spec", "ephemeralContainers")
	now := map[string]*corev1.EphemeralContainer{}
	for i := range p.Spec.EphemeralContainers {
		now[p.Spec.EphemeralContainers[i].Name] = &p.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		before := &old.Spec.EphemeralContainers[i]
		c, ok := now[before.Name]
		switch {
		case !ok:
			l.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", before.Name))
		case !apiequality.Semantic.DeepEqual(*before, *c):
			l.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", before.Name, cmp.Diff(*before, *c)))
		}
	}
	return l.Errors
}
