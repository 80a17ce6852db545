package resources

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/gated"
	"github.com/sinawi/sinawi/internal/apiserver/validation/batch"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func jobStrategy() Strategy {
	s := checked(mainStrategy(func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status }), batch.Job, batch.JobUpdate)
	s.PrepareForCreate = onCreate(func(j *batchv1.Job) {
		j.Status = batchv1.JobStatus{}
		gated.Job(&j.Spec, nil)
		makeSelector(j)
	})
	s.PrepareForUpdate = onUpdate(func(j, old *batchv1.Job) {
		j.Status = old.Status
		gated.Job(&j.Spec, &old.Spec)
	})
	s = templated(s, func(j *batchv1.Job) *corev1.PodTemplateSpec { return &j.Spec.Template })
	// Jobs were there before the garbage collector: their pods stay unless the
	// client says otherwise.
	s.OrphanDependents = true
	s.OrphanWarning = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
	return named[*batchv1.Job](warnedOnChange(s, func(j *batchv1.Job) []string { return warnings.Job(&j.Spec, field.NewPath("spec")) }))
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
	s := checked(mainStrategy(func(c *batchv1.CronJob) *batchv1.CronJobStatus { return &c.Status }), batch.CronJob, batch.CronJobUpdate)
	s.PrepareForCreate = onCreate(func(c *batchv1.CronJob) {
		c.Status = batchv1.CronJobStatus{}
		gated.Job(&c.Spec.JobTemplate.Spec, nil)
	})
	s.PrepareForUpdate = onUpdate(func(c, old *batchv1.CronJob) {
		c.Status = old.Status
		gated.Job(&c.Spec.JobTemplate.Spec, &old.Spec.JobTemplate.Spec)
	})
	s = templated(s, func(c *batchv1.CronJob) *corev1.PodTemplateSpec { return &c.Spec.JobTemplate.Spec.Template })
	s = named[*batchv1.CronJob](warnedOnChange(s, func(c *batchv1.CronJob) []string {
		return warnings.Job(&c.Spec.JobTemplate.Spec, field.NewPath("spec", "jobTemplate", "spec"))
	}))
	changed := s.UpdateWarnings
	s.UpdateWarnings = func(ctx context.Context, obj, old runtime.Object) []string {
		return append(changed(ctx, obj, old), warnings.CronJobZone(obj.(*batchv1.CronJob))...)
	}
	return s
}

func cronJobStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(c *batchv1.CronJob) *batchv1.CronJobSpec { return &c.Spec }), batch.CronJobStatusUpdate)
}
