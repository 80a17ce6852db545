package batch

import (
	"fmt"
	"regexp"
	"slices"
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
	l.Add(rule.Immutable(j.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
	templateStays(&l, j, old, path)
	for _, f := range []struct {
		name     string
		now, old any
	}{
		{"completionMode", j.Spec.CompletionMode, old.Spec.CompletionMode}, {"podFailurePolicy", j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy},
		{"backoffLimitPerIndex", j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex},
		{"managedBy", j.Spec.ManagedBy, old.Spec.ManagedBy}, {"successPolicy", j.Spec.SuccessPolicy, old.Spec.SuccessPolicy},
	} {
		l.Add(rule.Immutable(f.now, f.old, path.Child(f.name))...)
	}
	hostnames(&l, j)
	return l.Errors
}

// templateStays checks what of a job's template may change: nothing, unless
// the job is suspended. While none of its pods run, a queue may still say where
// they are to run and what they get.
func templateStays(l *check.List, j, old *batchv1.Job, path *field.Path) {
	suspended := check.Deref(old.Spec.Suspend, false)
	idle := suspended && old.Status.Active == 0 && (old.Status.StartTime == nil || suspendedNow(&old.Status))
	now := &j.Spec.Template
	if !idle {
		l.Add(rule.Immutable(now, &old.Spec.Template, path.Child("template"))...)
		return
	}
	was := old.Spec.Template.DeepCopy()
	was.Labels, was.Annotations = now.Labels, now.Annotations
	was.Spec.NodeSelector, was.Spec.Tolerations = now.Spec.NodeSelector, now.Spec.Tolerations
	was.Spec.SchedulingGates = now.Spec.SchedulingGates
	was.Spec.Affinity = withNodes(was.Spec.Affinity, now.Spec.Affinity)
	sameResources(was.Spec.Containers, now.Spec.Containers)
	sameResources(was.Spec.InitContainers, now.Spec.InitContainers)
	l.Add(rule.Immutable(now.Spec, was.Spec, path.Child("template.spec"))...)
}

func suspendedNow(s *batchv1.JobStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue
	})
}

// sameResources gives the containers of list the resources of those in as.
func sameResources(list, as []corev1.Container) {
	if len(list) != len(as) {
		return
	}
	for i := range list {
		if list[i].Name == as[i].Name {
			list[i].Resources = as[i].Resources
		}
	}
}

// withNodes is old's affinity with the nodes that now is drawn to: those alone
// may change.
func withNodes(old, now *corev1.Affinity) *corev1.Affinity {
	switch {
	case now == nil && old == nil:
		return nil
	case old == nil:
		return &corev1.Affinity{NodeAffinity: now.NodeAffinity}
	}
	with := *old
	if with.NodeAffinity = nil; now != nil {
		with.NodeAffinity = now.NodeAffinity
	}
	if now == nil && with == (corev1.Affinity{}) {
		return nil
	}
	return &with
}

// completions of an indexed job may change together with its parallelism. That
// it needs some at all is said elsewhere.
func completions(l *check.List, j, old *batchv1.Job, path *field.Path) {
	now := j.Spec.Completions
	switch {
	case !indexed(j):
		l.Add(rule.Immutable(now, old.Spec.Completions, path)...)
	case now == nil || apiequality.Semantic.DeepEqual(now, old.Spec.Completions):
	case *now != check.Deref(j.Spec.Parallelism, 1):
		l.Invalid(path, *now, fmt.Sprintf("can only be modified in tandem with %s", field.NewPath("spec", "parallelism")))
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
