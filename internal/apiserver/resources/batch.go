package resources

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Batch returns the rows of the group batch.
func Batch() []Resource {
	return []Resource{jobs(), cronJobs()}
}

func jobs() Resource {
	r := row[batchv1.Job, batchv1.JobList](batchv1.SchemeGroupVersion, "Job", "jobs")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		column("Status", "string", "Status of the job."),
		docColumn("Completions", "string", batchv1.JobStatus{}, "succeeded"),
		column("Duration", "string", "Time required to complete the job."),
		ageColumn(),
	}, append(containerColumns(), wide(docColumn("Selector", "string", batchv1.JobSpec{}, "selector"))...)...)
	r.Cells = cells(func(j *batchv1.Job) []any {
		names, images := containersAndImages(j.Spec.Template.Spec.Containers)
		return []any{
			j.Name, jobState(j), jobCompletions(j), jobDuration(j, time.Now()), since(j.CreationTimestamp),
			names, images, metav1.FormatLabelSelector(j.Spec.Selector),
		}
	})
	r.SelectableFields = selectable(func(j *batchv1.Job) fields.Set {
		return fields.Set{"status.successful": fmt.Sprint(j.Status.Succeeded)}
	})
	r.Strategy = jobStrategy()
	r.Status = jobStatusStrategy()
	return r
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if p := deref(j.Spec.Parallelism, 0); p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job, now time.Time) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(now.Sub(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}

func jobState(j *batchv1.Job) string {
	is := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	switch {
	case is(batchv1.JobComplete):
		return "Complete"
	case is(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is(batchv1.JobSuspended):
		return "Suspended"
	case is(batchv1.JobFailureTarget):
		return "FailureTarget"
	case is(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	default:
		return "Running"
	}
}

func cronJobs() Resource {
	r := row[batchv1.CronJob, batchv1.CronJobList](batchv1.SchemeGroupVersion, "CronJob", "cronjobs", "cj")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Schedule", "string", batchv1.CronJobSpec{}, "schedule"),
		docColumn("Timezone", "string", batchv1.CronJobSpec{}, "timeZone"),
		docColumn("Suspend", "boolean", batchv1.CronJobSpec{}, "suspend"),
		docColumn("Active", "integer", batchv1.CronJobStatus{}, "active"),
		docColumn("Last Schedule", "string", batchv1.CronJobStatus{}, "lastScheduleTime"),
		ageColumn(),
	}, append(containerColumns(), wide(docColumn("Selector", "string", batchv1.JobSpec{}, "selector"))...)...)
	r.Cells = cells(func(c *batchv1.CronJob) []any {
		last := "<none>"
		if c.Status.LastScheduleTime != nil {
			last = since(*c.Status.LastScheduleTime)
		}
		suspend := "<unset>"
		if c.Spec.Suspend != nil {
			suspend = map[bool]string{true: "True", false: "False"}[*c.Spec.Suspend]
		}
		names, images := containersAndImages(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
		return []any{
			c.Name, c.Spec.Schedule, deref(c.Spec.TimeZone, "<none>"), suspend, int64(len(c.Status.Active)), last,
			since(c.CreationTimestamp), names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector),
		}
	})
	r.Strategy = cronJobStrategy()
	r.Status = cronJobStatusStrategy()
	return r
}
