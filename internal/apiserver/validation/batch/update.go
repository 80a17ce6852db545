package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a time zone database

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// JobUpdate checks a changed job: what it runs stays once it has begun.
func JobUpdate(j, old *batchv1.Job) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&j.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("spec")
	whole(&l, j, path)
	completions(&l, j, old, path.Child("completions"))
	now := j.Spec.Template
	if check.Deref(old.Spec.Suspend, false) && old.Status.StartTime == nil {
		// A queue may still say where the pods are to run.
		now.Labels, now.Annotations = old.Spec.Template.Labels, old.Spec.Template.Annotations
		now.Spec.NodeSelector, now.Spec.Tolerations = old.Spec.Template.Spec.NodeSelector, old.Spec.Template.Spec.Tolerations
		now.Spec.SchedulingGates = old.Spec.Template.Spec.SchedulingGates
		now.Spec.Affinity = withNodes(now.Spec.Affinity, old.Spec.Template.Spec.Affinity)
	}
	for _, f := range []struct {
		name     string
		now, old any
	}{
		{"selector", j.Spec.Selector, old.Spec.Selector}, {"template", now, old.Spec.Template},
		{"completionMode", j.Spec.CompletionMode, old.Spec.CompletionMode}, {"podFailurePolicy", j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy},
		{"backoffLimitPerIndex", j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex},
		{"managedBy", j.Spec.ManagedBy, old.Spec.ManagedBy}, {"successPolicy", j.Spec.SuccessPolicy, old.Spec.SuccessPolicy},
	} {
		l.Add(rule.Immutable(f.now, f.old, path.Child(f.name))...)
	}
	return l.Errors
}

// withNodes is affinity with the nodes that old is drawn to: those alone may
// change.
func withNodes(affinity, old *corev1.Affinity) *corev1.Affinity {
	var with corev1.Affinity
	if affinity != nil {
		with = *affinity
	}
	with.NodeAffinity = nil
	if old != nil {
		with.NodeAffinity = old.NodeAffinity
	}
	if with == (corev1.Affinity{}) && old == nil {
		return nil
	}
	return &with
}

// completions of an indexed job may change together with its parallelism.
func completions(l *check.List, j, old *batchv1.Job, path *field.Path) {
	if apiequality.Semantic.DeepEqual(j.Spec.Completions, old.Spec.Completions) {
		return
	}
	mode := old.Spec.CompletionMode
	switch {
	case mode == nil || *mode != batchv1.IndexedCompletion:
		l.Add(rule.Immutable(j.Spec.Completions, old.Spec.Completions, path)...)
	case j.Spec.Completions == nil || old.Spec.Completions == nil:
		l.Add(rule.Immutable(j.Spec.Completions, old.Spec.Completions, path)...)
	case j.Spec.Parallelism == nil || *j.Spec.Completions != *j.Spec.Parallelism:
		l.Invalid(path, *j.Spec.Completions, fmt.Sprintf("can only be modified in tandem with %s", field.NewPath("spec", "parallelism")))
	}
}

// maxCronJobName leaves room for what is added to it in the names of its jobs.
const maxCronJobName = 52

// CronJob checks a new cron job. parse reads a schedule.
func CronJob(c *batchv1.CronJob) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&c.ObjectMeta, rule.Subdomain)}
	cronJobSpec(&l, &c.Spec, nil, field.NewPath("spec"))
	cronJobName(&l, c.Name)
	return l.Errors
}

func cronJobName(l *check.List, name string) {
	if len(name) > maxCronJobName {
		l.Invalid(field.NewPath("metadata", "name"), name, "must be no more than 52 characters")
	}
}

// CronJobUpdate checks a changed cron job.
func CronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	cronJobSpec(&l, &c.Spec, &old.Spec, field.NewPath("spec"))
	return l.Errors
}

// CronJobStatusUpdate checks a changed status.
func CronJobStatusUpdate(c, old *batchv1.CronJob) field.ErrorList {
	return rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)
}

func cronJobSpec(l *check.List, s, old *batchv1.CronJobSpec, path *field.Path) {
	if s.Schedule == "" {
		l.Required(path.Child("schedule"), "")
	} else {
		schedule(l, s, old, path.Child("schedule"))
	}
	if d := s.StartingDeadlineSeconds; d != nil {
		l.NonNegative(path.Child("startingDeadlineSeconds"), *d)
	}
	if zone := s.TimeZone; zone != nil && (old == nil || old.TimeZone == nil || *old.TimeZone != *zone) {
		timeZone(l, *zone, path.Child("timeZone"))
	}
	check.RequiredOneOf(l, path.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	if n := s.SuccessfulJobsHistoryLimit; n != nil {
		l.NonNegative(path.Child("successfulJobsHistoryLimit"), int64(*n))
	}
	if n := s.FailedJobsHistoryLimit; n != nil {
		l.NonNegative(path.Child("failedJobsHistoryLimit"), int64(*n))
	}
	at := path.Child("jobTemplate", "spec")
	if s.JobTemplate.Spec.Selector != nil {
		l.Invalid(at.Child("selector"), s.JobTemplate.Spec.Selector, "`selector` will be auto-generated")
	}
	if check.Deref(s.JobTemplate.Spec.ManualSelector, false) {
		l.Add(field.NotSupported(at.Child("manualSelector"), *s.JobTemplate.Spec.ManualSelector, []string{"nil", "false"}))
	}
	jobSpec(l, &s.JobTemplate.Spec, at)
}

// zonePart is one part of the name of a time zone.
var zonePart = regexp.MustCompile(`^[A-Za-z.\-_0-9+]{1,14}$`)

func timeZone(l *check.List, zone string, path *field.Path) {
	for part := range strings.SplitSeq(zone, "/") {
		if zone != "" && (part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part)) {
			l.Invalid(path, zone, "unknown time zone "+zone)
			return
		}
	}
	switch {
	case zone == "":
		l.Invalid(path, zone, "timeZone must be nil or non-empty string")
	case strings.EqualFold(zone, "Local"):
		l.Invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	default:
		if _, err := time.LoadLocation(zone); err != nil {
			l.Invalid(path, zone, err.Error())
		}
	}
}
