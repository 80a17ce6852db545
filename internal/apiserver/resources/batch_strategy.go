package resources

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/batch"
)

func jobStrategy() Strategy {
	s := checked(mainStrategy(func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status }), batch.Job, batch.JobUpdate)
	s.PrepareForCreate = onCreate(func(j *batchv1.Job) {
		j.Status = batchv1.JobStatus{}
		makeSelector(j)
	})
	// Jobs were there before the garbage collector: their pods stay unless the
	// client says otherwise.
	s.OrphanDependents = true
	return s
}

// makeSelector gives a job a selector that no other job has: its uid. A label
// that the author set to something else is left for validation to see.
func makeSelector(j *batchv1.Job) {
	if deref(j.Spec.ManualSelector, false) {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	labels := j.Spec.Template.Labels
	for _, l := range [][2]string{
		{batchv1.JobNameLabel, j.Name}, {batchv1.ControllerUidLabel, string(j.UID)},
		{"job-name", j.Name}, {"controller-uid", string(j.UID)}, // their names before 1.27
	} {
		if _, taken := labels[l[0]]; !taken {
			labels[l[0]] = l[1]
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, taken := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !taken {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func jobStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(j *batchv1.Job) *batchv1.JobSpec { return &j.Spec }), batch.JobStatusUpdate)
}

func cronJobStrategy() Strategy {
	return checked(mainStrategy(func(c *batchv1.CronJob) *batchv1.CronJobStatus { return &c.Status }), batch.CronJob, batch.CronJobUpdate)
}

func cronJobStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(c *batchv1.CronJob) *batchv1.CronJobSpec { return &c.Spec }), batch.CronJobStatusUpdate)
}
