package workloads

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typedbatch "k8s.io/client-go/kubernetes/typed/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

// cronJob makes a job at every time of the schedule that goes on until it is stopped.
func cronJob(name, schedule string, policy batchv1.ConcurrencyPolicy) *batchv1.CronJob {
	j := job(name, 1, "")
	return &batchv1.CronJob{ObjectMeta: named(name), Spec: batchv1.CronJobSpec{
		Schedule: schedule, ConcurrencyPolicy: policy,
		JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: j.Labels}, Spec: j.Spec},
	}}
}

const everyMinute = "*/1 * * * ?"

func (c *cluster) cronJobs() typedbatch.CronJobInterface { return c.BatchV1().CronJobs(c.namespace) }

func (c *cluster) createCron(cron *batchv1.CronJob) *batchv1.CronJob {
	c.Helper()
	return must[*batchv1.CronJob](c)(c.cronJobs().Create(c.ctx, cron, metav1.CreateOptions{}))
}

// lastRan makes the CronJob one that last ran then. With it a time in the past
// is one that was missed, and nobody need wait for the next minute.
func (c *cluster) lastRan(name string, at time.Time) {
	c.Helper()
	data := fmt.Appendf(nil, `{"status":{"lastScheduleTime":%q}}`, at.UTC().Format(time.RFC3339))
	must[*batchv1.CronJob](c)(c.cronJobs().Patch(c.ctx, name, types.MergePatchType, data, metav1.PatchOptions{}, "status"))
}

// pastMinutes are two minutes that have just passed, and a schedule for each.
func pastMinutes() (first, second time.Time, schedules [2]string) {
	second = time.Now().UTC().Truncate(time.Minute)
	first = second.Add(-time.Minute)
	return first, second, [2]string{
		fmt.Sprintf("%d %d * * *", first.Minute(), first.Hour()), fmt.Sprintf("%d %d * * *", second.Minute(), second.Hour()),
	}
}

// activeJobs waits until the CronJob says that n of its jobs run, and says which.
func (c *cluster) activeJobs(cron string, n int) []string {
	c.Helper()
	got := until(c, c.cronJobs(), cron, fmt.Sprint(n, " active jobs"), func(cron *batchv1.CronJob) bool { return len(cron.Status.Active) == n })
	var names []string
	for _, ref := range got.Status.Active {
		names = append(names, ref.Name)
	}
	return names
}

func TestCronJob(t *testing.T) {
	c := start(t, 1)
	// Those that need no real minute to pass come first.
	for _, tt := range []struct {
		name string
		try  func(*cluster)
	}{
		// Conformance: [sig-apps] CronJob should replace jobs when ReplaceConcurrent
		{"replace", cronReplaces},
		// Conformance: [sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow]
		{"forbid", cronForbids},
		// Conformance: [sig-apps] CronJob should not schedule jobs when suspended [Slow]
		{"suspended", cronSuspended},
		// Conformance: [sig-apps] CronJob should support CronJob API operations
		{"operations", cronOperations},
		{"too late", cronTooLate},
		{"history", cronHistory},
		{"zone", cronZone},
		// Conformance: [sig-apps] CronJob should schedule multiple jobs concurrently
		{"concurrent", cronConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) { t.Parallel(); tt.try(c.in(t)) })
	}
}

// twice has the CronJob's schedule come due for one minute and then, while that
// job runs, for the next.
func (c *cluster) twice(policy batchv1.ConcurrencyPolicy) (firstJob string) {
	c.Helper()
	first, _, schedules := pastMinutes()
	cron := cronJob("cron", schedules[0], policy)
	cron.Spec.Suspend = ptr.To(true)
	c.createCron(cron)
	c.lastRan("cron", first.Add(-time.Hour))
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	firstJob = c.activeJobs("cron", 1)[0]
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Schedule = schedules[1] })
	return firstJob
}

func cronReplaces(c *cluster) {
	firstJob := c.twice(batchv1.ReplaceConcurrent)
	until(c, c.cronJobs(), "cron", "with another job", func(cron *batchv1.CronJob) bool {
		return len(cron.Status.Active) == 1 && cron.Status.Active[0].Name != firstJob
	})
	untilAll(c, c.jobs(), map[string]string{"app": "cron"}, "one job", func(jobs []*batchv1.Job) bool {
		return len(jobs) == 1 && jobs[0].Name != firstJob
	})
}

func cronForbids(c *cluster) {
	firstJob := c.twice(batchv1.ForbidConcurrent)
	if got, want := c.event("cron", "JobAlreadyActive"), "Not starting job because prior execution is running and concurrency policy is Forbid"; got != want {
		c.Errorf("event: got %q, want %q", got, want)
	}
	jobs := must[*batchv1.JobList](c)(c.jobs().List(c.ctx, metav1.ListOptions{}))
	if len(jobs.Items) != 1 || jobs.Items[0].Name != firstJob {
		c.Errorf("jobs: got %d, want only %s", len(jobs.Items), firstJob)
	}
	// The next begins when the first is out of the way.
	c.ok(c.jobs().Delete(c.ctx, firstJob, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}))
	until(c, c.cronJobs(), "cron", "with another job", func(cron *batchv1.CronJob) bool {
		return len(cron.Status.Active) == 1 && cron.Status.Active[0].Name != firstJob
	})
}

func cronSuspended(c *cluster) {
	first, _, schedules := pastMinutes()
	cron := cronJob("cron", schedules[0], batchv1.AllowConcurrent)
	cron.Spec.Suspend = ptr.To(true)
	c.createCron(cron)
	c.lastRan("cron", first.Add(-time.Hour))
	// A second that is not suspended gets its job, with as many missed times.
	other := cronJob("other", schedules[0], batchv1.AllowConcurrent)
	other.Spec.Suspend = ptr.To(true)
	c.createCron(other)
	c.lastRan("other", first.Add(-time.Hour))
	change(c, c.cronJobs(), "other", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	c.activeJobs("other", 1)
	jobs := must[*batchv1.JobList](c)(c.jobs().List(c.ctx, metav1.ListOptions{LabelSelector: "app=cron"}))
	if len(jobs.Items) != 0 {
		c.Errorf("a suspended cron job has %d jobs", len(jobs.Items))
	}
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	c.activeJobs("cron", 1)
}

// cronConcurrent waits for the real next minute while the job of this one runs.
func cronConcurrent(c *cluster) {
	cron := cronJob("cron", everyMinute, batchv1.AllowConcurrent)
	cron.Spec.Suspend = ptr.To(true)
	c.createCron(cron)
	c.lastRan("cron", time.Now().Add(-2*time.Minute))
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	names := c.activeJobs("cron", 2)
	jobs := must[*batchv1.JobList](c)(c.jobs().List(c.ctx, metav1.ListOptions{LabelSelector: "app=cron"}))
	for _, j := range jobs.Items {
		at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
		if want := fmt.Sprintf("cron-%d", at.Unix()/60); err != nil || j.Name != want || !slices.Contains(names, j.Name) {
			c.Errorf("job %s of %v: want the name %s, among %v", j.Name, at, want, names)
		}
	}
}

func cronOperations(c *cluster) {
	api := c.cronJobs()
	cron := cronJob("cron", "0 0 1 1 *", batchv1.AllowConcurrent)
	cron.Labels["special-label"] = c.namespace
	w, err := api.Watch(c.ctx, metav1.ListOptions{LabelSelector: "special-label=" + c.namespace})
	c.ok(err)
	defer w.Stop()
	created := c.createCron(cron)
	got := must[*batchv1.CronJob](c)(api.Get(c.ctx, "cron", metav1.GetOptions{}))
	if got.UID != created.UID {
		c.Errorf("got another: %s", got.UID)
	}
	all := must[*batchv1.CronJobList](c)(c.BatchV1().CronJobs("").List(c.ctx, metav1.ListOptions{LabelSelector: "special-label=" + c.namespace}))
	if len(all.Items) != 1 {
		c.Errorf("list of all namespaces: got %d", len(all.Items))
	}
	patched := must[*batchv1.CronJob](c)(api.Patch(c.ctx, "cron", types.MergePatchType, []byte(`{"metadata":{"annotations":{"patched":"true"}}}`), metav1.PatchOptions{}))
	if patched.Annotations["patched"] != "true" {
		c.Errorf("annotations: got %v", patched.Annotations)
	}
	updated := change(c, api, "cron", func(cron *batchv1.CronJob) { cron.Annotations["updated"] = "true" })
	if updated.Annotations["updated"] != "true" {
		c.Errorf("annotations: got %v", updated.Annotations)
	}
	at := metav1.Now().Rfc3339Copy()
	c.lastRan("cron", at.Time)
	got = must[*batchv1.CronJob](c)(api.Get(c.ctx, "cron", metav1.GetOptions{}))
	if !got.Status.LastScheduleTime.Equal(&at) {
		c.Errorf("last time: got %v, want %v", got.Status.LastScheduleTime, at)
	}
	changeStatus(c, api, "cron", func(j *batchv1.CronJob) { j.Status.LastScheduleTime = ptr.To(metav1.NewTime(at.Add(time.Second))) })
	c.ok(api.Delete(c.ctx, "cron", metav1.DeleteOptions{}))
	untilGone(c, api, created)
	c.createCron(cron)
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "special-label=" + c.namespace}))
	var kinds []watch.EventType
	for e := range w.ResultChan() {
		kinds = append(kinds, e.Type)
		if n := len(kinds); e.Type == watch.Deleted && slices.Index(kinds, watch.Deleted) < n-1 {
			break
		}
	}
	if kinds[0] != watch.Added || !slices.Contains(kinds, watch.Modified) {
		c.Errorf("watched: %v", kinds)
	}
}

func cronTooLate(c *cluster) {
	first, _, schedules := pastMinutes()
	cron := cronJob("cron", schedules[0], batchv1.AllowConcurrent)
	cron.Spec.Suspend = ptr.To(true)
	cron.Spec.StartingDeadlineSeconds = ptr.To[int64](1)
	c.createCron(cron)
	c.lastRan("cron", first.Add(-time.Hour))
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.StartingDeadlineSeconds = nil })
	c.activeJobs("cron", 1)
}

// cronHistory keeps as many finished jobs as asked.
func cronHistory(c *cluster) {
	first, _, schedules := pastMinutes()
	cron := cronJob("cron", schedules[0], batchv1.AllowConcurrent)
	cron.Spec.Suspend = ptr.To(true)
	cron.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](0)
	cron.Spec.JobTemplate.Spec.Template.Annotations[simnode.Exit] = "0"
	c.createCron(cron)
	c.lastRan("cron", first.Add(-time.Hour))
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	done := until(c, c.cronJobs(), "cron", "done", func(cron *batchv1.CronJob) bool { return cron.Status.LastSuccessfulTime != nil })
	untilAll(c, c.jobs(), map[string]string{"app": "cron"}, "no jobs", func(jobs []*batchv1.Job) bool { return len(jobs) == 0 })
	if got := c.event("cron", "SuccessfulDelete"); got == "" || done.Status.LastScheduleTime == nil {
		c.Errorf("event %q, last time %v", got, done.Status.LastScheduleTime)
	}
}

// cronZone reads the schedule in the CronJob's time zone.
func cronZone(c *cluster) {
	zone, err := time.LoadLocation("Asia/Seoul")
	c.ok(err)
	first, _, _ := pastMinutes()
	local := first.In(zone)
	cron := cronJob("cron", fmt.Sprintf("%d %d * * *", local.Minute(), local.Hour()), batchv1.AllowConcurrent)
	cron.Spec.TimeZone, cron.Spec.Suspend = ptr.To("Asia/Seoul"), ptr.To(true)
	c.createCron(cron)
	c.lastRan("cron", first.Add(-time.Hour))
	change(c, c.cronJobs(), "cron", func(cron *batchv1.CronJob) { cron.Spec.Suspend = ptr.To(false) })
	name := c.activeJobs("cron", 1)[0]
	j := must[*batchv1.Job](c)(c.jobs().Get(c.ctx, name, metav1.GetOptions{}))
	if got, want := j.Annotations[batchv1.CronJobScheduledTimestampAnnotation], local.Format(time.RFC3339); got != want {
		c.Errorf("time of the job: got %s, want %s", got, want)
	}
}
