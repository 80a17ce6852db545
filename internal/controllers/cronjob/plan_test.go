package cronjob

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/controllers/cronjob/schedule"
)

func at(clock string) time.Time {
	t, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return t.AddDate(2026, 0, 0)
}

func job(name, started string, end batchv1.JobConditionType) *batchv1.Job {
	start := metav1.NewTime(at(started))
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	j.Status.StartTime = &start
	if end != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: end, Status: corev1.ConditionTrue}}
	}
	return j
}

func TestDecide(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	for _, tt := range []struct {
		name   string
		change func(*batchv1.CronJob)
		jobs   []*batchv1.Job
		now    string
		// foreign says that somebody else made the jobs.
		foreign bool

		create, reason  string
		remove, replace int
		again           time.Duration
	}{
		{name: "before the first time", now: "10:00:30", again: 4*time.Minute + 30*time.Second + slack},
		{name: "at the first time", now: "10:05:00", create: "10:05:00", again: 5*time.Minute + slack},
		{name: "after some that were missed", now: "10:17:00", create: "10:15:00", again: 3*time.Minute + slack},
		{name: "made already", now: "10:07:00", change: func(c *batchv1.CronJob) { c.Status.LastScheduleTime = &metav1.Time{Time: at("10:05:00")} },
			again: 3*time.Minute + slack},
		{name: "too late", now: "10:07:00", change: func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = new(int64) },
			again: 3*time.Minute + slack},
		{name: "suspended", now: "10:05:00", change: func(c *batchv1.CronJob) { c.Spec.Suspend = new(bool); *c.Spec.Suspend = true }},
		{name: "one still runs", now: "10:05:00", jobs: []*batchv1.Job{job("a", "10:00:00", "")}, create: "10:05:00", again: 5*time.Minute + slack},
		{name: "one still runs and is in the way", now: "10:05:00", jobs: []*batchv1.Job{job("a", "10:00:00", "")},
			change: func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent },
			reason: "JobAlreadyActive", again: 5*time.Minute + slack},
		{name: "one still runs and is replaced", now: "10:05:00", jobs: []*batchv1.Job{job("a", "10:00:00", "")},
			change: func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent },
			create: "10:05:00", replace: 1, again: 5*time.Minute + slack},
		{name: "one of somebody else's still runs", now: "10:05:00", jobs: []*batchv1.Job{job("a", "10:00:00", "")}, foreign: true,
			change: func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent },
			create: "10:05:00", reason: "UnexpectedJob", again: 5*time.Minute + slack},
		{name: "one went missing", now: "10:01:00",
			change: func(c *batchv1.CronJob) { c.Status.Active = []corev1.ObjectReference{{Name: "a", UID: "a"}} },
			reason: "MissingJob", again: 4*time.Minute + slack},
		{name: "history", now: "10:01:00", jobs: []*batchv1.Job{
			job("a", "09:00:00", batchv1.JobComplete), job("b", "09:05:00", batchv1.JobComplete),
			job("c", "09:10:00", batchv1.JobFailed), job("d", "09:15:00", batchv1.JobFailed)},
			change: func(c *batchv1.CronJob) {
				c.Spec.SuccessfulJobsHistoryLimit, c.Spec.FailedJobsHistoryLimit = n(1), n(0)
			},
			remove: 3, again: 4*time.Minute + slack},
		{name: "one ended", now: "10:01:00", jobs: []*batchv1.Job{job("a", "10:00:00", batchv1.JobFailed)},
			change: func(c *batchv1.CronJob) { c.Status.Active = []corev1.ObjectReference{{Name: "a", UID: "a"}} },
			reason: "SawCompletedJob", again: 4*time.Minute + slack},
		{name: "one ended and goes at once", now: "10:01:00", jobs: []*batchv1.Job{job("a", "10:00:00", batchv1.JobFailed)},
			change: func(c *batchv1.CronJob) {
				c.Status.Active, c.Spec.FailedJobsHistoryLimit = []corev1.ObjectReference{{Name: "a", UID: "a"}}, n(0)
			},
			remove: 1, again: 4*time.Minute + slack},
		{name: "a day of missed times", now: "23:59:00", create: "23:55:00", reason: "TooManyMissedTimes", again: time.Minute + slack},
	} {
		times, err := schedule.Parse("*/5 * * * *")
		if err != nil {
			t.Fatal(err)
		}
		cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "cron", CreationTimestamp: metav1.NewTime(at("10:00:00"))}}
		for _, j := range tt.jobs {
			if ended(j) == nil && !tt.foreign {
				cron.Status.Active = append(cron.Status.Active, reference(j))
			}
		}
		if tt.change != nil {
			tt.change(cron)
		}
		p := decide(snapshot{cron: cron, jobs: tt.jobs, times: times}, at(tt.now))
		type result struct {
			create, reason  string
			remove, replace int
			again           time.Duration
		}
		got := result{remove: len(p.remove), replace: len(p.replace), again: p.again}
		if !p.create.IsZero() {
			got.create = p.create.Format("15:04:05")
		}
		if len(p.events) > 0 {
			got.reason = p.events[0].reason
		}
		want := result{tt.create, tt.reason, tt.remove, tt.replace, tt.again}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(result{})); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}

func TestDueInTheZoneAskedAbout(t *testing.T) {
	times, err := schedule.Parse("5 19 * * *")
	if err != nil {
		t.Fatal(err)
	}
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "cron", CreationTimestamp: metav1.NewTime(at("10:00:00"))}}
	p := decide(snapshot{cron: cron, times: times}, at("10:06:00").In(time.FixedZone("Seoul", 9*3600)))
	if !p.create.Equal(at("10:05:00")) {
		t.Errorf("due: got %v, want 19:05 in Seoul", p.create)
	}
}

func TestOneTimeHasOneName(t *testing.T) {
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "cron"}}
	if a, b := jobName(cron, at("10:05:00")), jobName(cron, at("10:05:00").In(time.FixedZone("X", 3600))); a != b {
		t.Errorf("%s and %s", a, b)
	}
	berlin := "Europe/Berlin"
	cron.Spec.TimeZone = &berlin
	if got := build(cron, at("10:05:00")).Annotations[batchv1.CronJobScheduledTimestampAnnotation]; got != "2026-01-01T11:05:00+01:00" {
		t.Errorf("annotation %s", got)
	}
}

// A schedule that never comes is told of, as one that cannot be read is.
func TestNeverDue(t *testing.T) {
	times, err := schedule.Parse("0 0 31 2 *")
	if err != nil {
		t.Fatal(err)
	}
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "cron", CreationTimestamp: metav1.NewTime(at("10:00:00"))}}
	cron.Spec.Schedule = "0 0 31 2 *"
	p := decide(snapshot{cron: cron, times: times}, at("10:06:00"))
	want := []note{{corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second"}}
	if d := cmp.Diff(want, p.events, cmp.AllowUnexported(note{})); d != "" || p.again != 0 || !p.create.IsZero() {
		t.Errorf("%+v (-want +got)\n%s", p, d)
	}
}
