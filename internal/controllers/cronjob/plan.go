package cronjob

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/controllers/cronjob/schedule"
)

const (
	// manyMissed is how many missed times are worth a warning.
	manyMissed = 100
	// after a scheduled time the clock is given this much to have passed it.
	slack = 100 * time.Millisecond
)

// snapshot is what a decision is made from.
type snapshot struct {
	cron *batchv1.CronJob
	// jobs are all Jobs that the CronJob controls.
	jobs []*batchv1.Job
	// times is the schedule, read in the CronJob's zone.
	times *schedule.Schedule
}

// plan is what to do for one CronJob, in this order.
type plan struct {
	// remove are finished Jobs beyond the history limits.
	remove []*batchv1.Job
	// replace are running Jobs that make room for the next.
	replace []*batchv1.Job
	// create is for which time to make a Job; zero for none.
	create time.Time
	status batchv1.CronJobStatus
	events []note
	again  time.Duration
}

type note struct{ kind, reason, message string }

// ended is the condition that ended a Job, or nil.
func ended(job *batchv1.Job) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// decide says whether a Job is due.
func decide(s snapshot, now time.Time) plan {
	p := plan{status: *s.cron.Status.DeepCopy()}
	p.history(s)
	p.follow(s)
	if s.cron.DeletionTimestamp != nil || suspended(s.cron) || s.times == nil {
		return p
	}
	p.start(s, now)
	return p
}

func suspended(cron *batchv1.CronJob) bool { return cron.Spec.Suspend != nil && *cron.Spec.Suspend }

// follow brings the list of running Jobs up to date. It names those that the
// CronJob started; one that somebody else made in its name is none of them. Nothing is
// said of the end of one that history has no room for: it goes.
func (p *plan) follow(s snapshot) {
	there, running := map[types.UID]bool{}, map[types.UID]bool{}
	for _, job := range s.jobs {
		there[job.UID] = true
		listed := slices.ContainsFunc(p.status.Active, func(r corev1.ObjectReference) bool { return r.UID == job.UID })
		end := ended(job)
		if end == nil {
			running[job.UID] = true
			if !listed {
				p.tell(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", job.Name)
			}
			continue
		}
		if listed && !slices.Contains(p.remove, job) {
			p.tell(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", job.Name, end.Type)
		}
		if t := job.Status.CompletionTime; end.Type == batchv1.JobComplete && t != nil &&
			(p.status.LastSuccessfulTime == nil || p.status.LastSuccessfulTime.Before(t)) {
			p.status.LastSuccessfulTime = t
		}
	}
	var active []corev1.ObjectReference
	for _, ref := range p.status.Active {
		switch {
		case running[ref.UID]:
			active = append(active, ref)
		case !there[ref.UID]:
			p.tell(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
		}
	}
	p.status.Active = active
}

func (p *plan) tell(kind, reason, format string, args ...any) {
	p.events = append(p.events, note{kind, reason, fmt.Sprintf(format, args...)})
}

func reference(job *batchv1.Job) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job",
		Namespace: job.Namespace, Name: job.Name, UID: job.UID, ResourceVersion: job.ResourceVersion,
	}
}

// history picks finished Jobs beyond the limits, oldest first.
func (p *plan) history(s snapshot) {
	pick := func(kind batchv1.JobConditionType, limit *int32) {
		if limit == nil {
			return
		}
		var done []*batchv1.Job
		for _, job := range s.jobs {
			if end := ended(job); end != nil && end.Type == kind && job.DeletionTimestamp == nil {
				done = append(done, job)
			}
		}
		slices.SortFunc(done, func(a, b *batchv1.Job) int {
			return cmp.Or(startOf(a).Compare(startOf(b)), cmp.Compare(a.Name, b.Name))
		})
		p.remove = append(p.remove, done[:max(len(done)-int(*limit), 0)]...)
	}
	pick(batchv1.JobComplete, s.cron.Spec.SuccessfulJobsHistoryLimit)
	pick(batchv1.JobFailed, s.cron.Spec.FailedJobsHistoryLimit)
}

func startOf(job *batchv1.Job) time.Time {
	if job.Status.StartTime == nil {
		return job.CreationTimestamp.Time
	}
	return job.Status.StartTime.Time
}

// start plans the Job of the latest time that has passed, if it is not too late
// and no other is in its way.
func (p *plan) start(s snapshot, now time.Time) {
	next := s.times.Next(now)
	if next.IsZero() {
		p.tell(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : time difference between two schedules is less than 1 second", s.cron.Spec.Schedule)
		return
	}
	p.again = next.Sub(now) + slack
	due, missed := latest(s, now)
	if due.IsZero() {
		return
	}
	if missed > manyMissed {
		p.tell(corev1.EventTypeWarning, "TooManyMissedTimes",
			"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if d := s.cron.Spec.StartingDeadlineSeconds; d != nil && now.Sub(due) > time.Duration(*d)*time.Second {
		p.tell(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	if len(p.status.Active) > 0 {
		switch s.cron.Spec.ConcurrencyPolicy {
		case batchv1.ForbidConcurrent:
			p.tell(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		case batchv1.ReplaceConcurrent:
			for _, job := range s.jobs {
				if slices.ContainsFunc(p.status.Active, func(r corev1.ObjectReference) bool { return r.UID == job.UID }) {
					p.replace = append(p.replace, job)
				}
			}
			p.status.Active = nil
		}
	}
	p.create = due
	at := metav1.NewTime(due)
	p.status.LastScheduleTime = &at
}

// latest is the last time that has passed since the last Job was made, and how
// many there were.
func latest(s snapshot, now time.Time) (due time.Time, missed int) {
	from := s.cron.CreationTimestamp.Time
	if t := s.cron.Status.LastScheduleTime; t != nil {
		from = t.Time
	}
	if d := s.cron.Spec.StartingDeadlineSeconds; d != nil {
		if limit := now.Add(-time.Duration(*d) * time.Second); limit.After(from) {
			from = limit
		}
	}
	from = from.In(now.Location()) // the schedule is read in the zone of the time asked about
	for t := s.times.Next(from); !t.IsZero() && !t.After(now); t = s.times.Next(t) {
		due = t
		missed++
		if missed == manyMissed+1 {
			return lastBefore(s.times, t, now), missed
		}
	}
	return due, missed
}

// lastBefore finds the last time up to now without walking through all since t:
// it looks back from now in ever larger steps.
func lastBefore(times *schedule.Schedule, t, now time.Time) time.Time {
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back)
		if from.Before(t) {
			from = t.Add(-time.Second)
		}
		var due time.Time
		for x := times.Next(from); !x.IsZero() && !x.After(now); x = times.Next(x) {
			due = x
		}
		if !due.IsZero() {
			return due
		}
	}
}

// jobName is the same for the same time, so that no time has two Jobs.
func jobName(cron *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", cron.Name, due.Unix()/60)
}

// build makes the Job of a time.
func build(cron *batchv1.CronJob, due time.Time) *batchv1.Job {
	t := cron.Spec.JobTemplate.DeepCopy()
	zone := time.UTC
	if name := cron.Spec.TimeZone; name != nil {
		if z, err := time.LoadLocation(*name); err == nil {
			zone = z
		}
	}
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.In(zone).Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cron.Namespace, Name: jobName(cron, due),
			Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cron, kind)},
		},
		Spec: t.Spec,
	}
}
