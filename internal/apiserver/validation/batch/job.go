// Package batch decides whether objects of the group batch are valid, in the
// field paths and words that Kubernetes uses. Its functions are pure.
package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

const maxIndexed = 100000 // pods at a time, and failed indexes

// Job checks a new job, its selector already made.
func Job(j *batchv1.Job) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&j.ObjectMeta, rule.Subdomain)}
	madeSelector(&l, j)
	whole(&l, j, field.NewPath("spec"))
	hostnames(&l, j)
	return l.Errors
}

// hostnames checks that each pod of an indexed job can be named after its index.
func hostnames(l *check.List, j *batchv1.Job) {
	if n := check.Deref(j.Spec.Completions, 0); indexed(j) && n > 0 {
		longest := fmt.Sprintf("%s-%d", j.Name, n-1)
		if len(validation.IsDNS1123Label(longest)) > 0 {
			l.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+longest)
		}
	}
}

// whole checks what holds for the spec of a job at any time.
func whole(l *check.List, j *batchv1.Job, path *field.Path) {
	jobSpec(l, &j.Spec, path)
	s := j.Spec.Selector
	if s == nil {
		l.Required(path.Child("selector"), "")
	} else {
		l.Add(rule.Selector(s, path.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s); err == nil && !selector.Matches(labels.Set(j.Spec.Template.Labels)) {
		l.Invalid(path.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`")
	}
}

// madeSelector checks that a selector that the server makes was not given by
// the author: two jobs must never count the same pods.
func madeSelector(l *check.List, j *batchv1.Job) {
	if check.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return
	}
	if j.UID == "" {
		l.Required(field.NewPath("metadata", "uid"), "")
	}
	want := [][2]string{
		{"controller-uid", string(j.UID)}, {"job-name", j.Name},
		{"batch.kubernetes.io/controller-uid", string(j.UID)}, {"batch.kubernetes.io/job-name", j.Name},
	}
	made := labels.Set{}
	path := field.NewPath("spec", "template", "metadata", "labels")
	for _, w := range want {
		made[w[0]] = w[1]
		value, ok := j.Spec.Template.Labels[w[0]]
		switch detail := fmt.Sprintf("must be '%s'", w[1]); {
		case !ok:
			l.Required(path.Key(w[0]), detail)
		case value != w[1]:
			l.Invalid(path.Key(w[0]), j.Spec.Template.Labels, detail)
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(made) {
		l.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
}

func jobSpec(l *check.List, s *batchv1.JobSpec, path *field.Path) {
	for _, n := range []struct {
		name  string
		value *int32
	}{
		{"parallelism", s.Parallelism}, {"completions", s.Completions}, {"backoffLimit", s.BackoffLimit},
		{"ttlSecondsAfterFinished", s.TTLSecondsAfterFinished}, {"backoffLimitPerIndex", s.BackoffLimitPerIndex}, {"maxFailedIndexes", s.MaxFailedIndexes},
	} {
		if n.value != nil {
			l.NonNegative(path.Child(n.name), int64(*n.value))
		}
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		l.NonNegative(path.Child("activeDeadlineSeconds"), *d)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		l.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	completionMode(l, s, path)
	failurePolicy(l, s, path.Child("podFailurePolicy"))
	successPolicy(l, s, path.Child("successPolicy"))
	if p := s.PodReplacementPolicy; p != nil {
		at := path.Child("podReplacementPolicy")
		if s.PodFailurePolicy != nil {
			check.OneOf(l, at, *p, batchv1.Failed)
		} else {
			check.OneOf(l, at, *p, batchv1.Failed, batchv1.TerminatingOrFailed)
		}
	}
	if by := s.ManagedBy; by != nil {
		managedBy(l, *by, path.Child("managedBy"))
	}
	l.Add(pod.Template(&s.Template, path.Child("template"))...)
	at := path.Child("template", "spec", "restartPolicy")
	switch r := s.Template.Spec.RestartPolicy; {
	case r == corev1.RestartPolicyAlways:
		l.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	case r != corev1.RestartPolicyOnFailure && r != corev1.RestartPolicyNever:
		l.Add(field.NotSupported(at, r, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
	case s.PodFailurePolicy != nil && r != corev1.RestartPolicyNever:
		l.Invalid(at, r, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
	}
}

func managedBy(l *check.List, by string, path *field.Path) {
	l.Add(validation.IsDomainPrefixedPath(path, by)...)
	if len(by) > 63 {
		l.Add(field.TooLong(path, by, 63))
	}
}

func completionMode(l *check.List, s *batchv1.JobSpec, path *field.Path) {
	mode := check.Deref(s.CompletionMode, batchv1.NonIndexedCompletion)
	check.OneOf(l, path.Child("completionMode"), mode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	if mode == batchv1.NonIndexedCompletion {
		const refused = "requires indexed completion mode"
		if n := s.BackoffLimitPerIndex; n != nil {
			l.Invalid(path.Child("backoffLimitPerIndex"), *n, refused)
		}
		if n := s.MaxFailedIndexes; n != nil {
			l.Invalid(path.Child("maxFailedIndexes"), *n, refused)
		}
	}
	if mode != batchv1.IndexedCompletion {
		return
	}
	if s.Completions == nil {
		l.Required(path.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion))
	}
	if s.Parallelism != nil && *s.Parallelism > maxIndexed {
		l.Invalid(path.Child("parallelism"), *s.Parallelism, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxIndexed, batchv1.IndexedCompletion))
	}
	if n := s.MaxFailedIndexes; n != nil {
		if s.Completions != nil && *n > *s.Completions {
			l.Invalid(path.Child("maxFailedIndexes"), *n, "must be less than or equal to completions")
		}
		if *n > maxIndexed {
			l.Invalid(path.Child("maxFailedIndexes"), *n, fmt.Sprintf("must be less than or equal to %d", maxIndexed))
		}
	}
	if s.Completions != nil && *s.Completions > maxIndexed && s.BackoffLimitPerIndex != nil {
		manyCompletions(l, s, path)
	}
}

// maxOfMany bounds what happens at a time in a job of so many indexes that
// the account of those that failed could outgrow the object.
const maxOfMany = 10000

func manyCompletions(l *check.List, s *batchv1.JobSpec, path *field.Path) {
	refused := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", maxOfMany, maxIndexed)
	if s.MaxFailedIndexes == nil {
		l.Required(path.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", maxIndexed))
	}
	if n := s.Parallelism; n != nil && *n > maxOfMany {
		l.Invalid(path.Child("parallelism"), *n, refused)
	}
	if n := s.MaxFailedIndexes; n != nil && *n > maxOfMany {
		l.Invalid(path.Child("maxFailedIndexes"), *n, refused)
	}
}

// The bounds of a policy on failures.
const (
	maxRules      = 20
	maxExitCodes  = 255
	maxConditions = 20
)

func failurePolicy(l *check.List, s *batchv1.JobSpec, path *field.Path) {
	if s.PodFailurePolicy == nil {
		return
	}
	rules := path.Child("rules")
	if n := len(s.PodFailurePolicy.Rules); n > maxRules {
		l.Add(field.TooMany(rules, n, maxRules))
	}
	names := map[string]bool{}
	for _, list := range [][]corev1.Container{s.Template.Spec.Containers, s.Template.Spec.InitContainers} {
		for i := range list {
			names[list[i].Name] = true
		}
	}
	for i := range s.PodFailurePolicy.Rules {
		failureRule(l, s, &s.PodFailurePolicy.Rules[i], names, rules.Index(i))
	}
}

func failureRule(l *check.List, s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, containers map[string]bool, path *field.Path) {
	oneOfNamed(l, path.Child("action"), r.Action,
		batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		l.Invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
	}
	if codes := r.OnExitCodes; codes != nil {
		if len(r.OnPodConditions) > 0 {
			l.Invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		}
		exitCodes(l, codes, containers, path.Child("onExitCodes"))
	} else if len(r.OnPodConditions) == 0 {
		l.Invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
	}
	if n := len(r.OnPodConditions); n > maxConditions {
		l.Add(field.TooMany(path.Child("onPodConditions"), n, maxConditions))
	}
	for i, c := range r.OnPodConditions {
		at := path.Child("onPodConditions").Index(i)
		l.QualifiedName(at.Child("type"), string(c.Type))
		oneOfNamed(l, at.Child("status"), c.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
	}
}

// oneOfNamed is a choice that says, where it is missing, what there is.
func oneOfNamed[T ~string](l *check.List, path *field.Path, value T, valid ...T) {
	if value == "" {
		l.Required(path, fmt.Sprintf("valid values: %q", valid))
		return
	}
	check.OneOf(l, path, value, valid...)
}

func exitCodes(l *check.List, c *batchv1.PodFailurePolicyOnExitCodesRequirement, containers map[string]bool, path *field.Path) {
	oneOfNamed(l, path.Child("operator"), c.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := c.ContainerName; n != nil && !containers[*n] {
		l.Invalid(path.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
	}
	values := path.Child("values")
	if n := len(c.Values); n == 0 {
		l.Invalid(values, c.Values, "at least one value is required")
	} else if n > maxExitCodes {
		l.Add(field.TooMany(values, n, maxExitCodes))
	}
	seen, sorted := map[int32]bool{}, true
	for i, v := range c.Values {
		if c.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			l.Invalid(values.Index(i), v, "must not be 0 for the In operator")
		}
		if seen[v] {
			l.Duplicate(values.Index(i), v)
		}
		seen[v] = true
		sorted = sorted && (i == 0 || c.Values[i-1] <= v)
	}
	if !sorted {
		l.Invalid(values, c.Values, "must be ordered")
	}
}

func successPolicy(l *check.List, s *batchv1.JobSpec, path *field.Path) {
	p := s.SuccessPolicy
	if p == nil {
		return
	}
	if s.CompletionMode == nil || *s.CompletionMode != batchv1.IndexedCompletion {
		l.Invalid(path, *p, "requires indexed completion mode")
		return
	}
	rules := path.Child("rules")
	if len(p.Rules) == 0 {
		l.Required(rules, "at least one rules must be specified when the successPolicy is specified")
	}
	if len(p.Rules) > maxRules {
		l.Add(field.TooMany(rules, len(p.Rules), maxRules))
	}
	for i, r := range p.Rules {
		at := rules.Index(i)
		if r.SucceededCount == nil && r.SucceededIndexes == nil {
			l.Required(at, "at least one of succeededCount or succeededIndexes must be specified")
		}
		succeeded(l, &r, check.Deref(s.Completions, 0), at)
	}
}

// succeeded checks one rule on how many indexes, or which, make a success.
func succeeded(l *check.List, r *batchv1.SuccessPolicyRule, completions int32, path *field.Path) {
	const longest = 64 * 1024
	var total int32
	if text := r.SucceededIndexes; text != nil {
		at := path.Child("succeededIndexes")
		if len(*text) > longest {
			l.Add(field.TooLong(at, "", longest))
		}
		n, err := indexes(*text, completions)
		if err != nil {
			l.Invalid(at, *text, "error parsing succeededIndexes: "+err.Error())
		}
		total = n
	}
	c := r.SucceededCount
	if c == nil {
		return
	}
	at := path.Child("succeededCount")
	l.NonNegative(at, int64(*c))
	if *c > completions {
		l.Invalid(at, *c, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
	}
	if r.SucceededIndexes != nil && *c > total {
		l.Invalid(at, *c, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))
	}
}
