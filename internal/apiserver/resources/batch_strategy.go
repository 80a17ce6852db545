package resources

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func jobStrategy() Strategy {
	s := mainStrategy(func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status })
	prepare := s.PrepareForCreate
	s.PrepareForCreate = func(ctx context.Context, obj runtime.Object) {
		prepare(ctx, obj)
		selectOwnPods(obj.(*batchv1.Job))
	}
	return s
}

// selectOwnPods gives a job that manages its selector itself none but its own
// pods: two jobs must never count the same ones. The labels without a domain
// are for readers from before there was one. A value that the author has given
// is left to the validation, which tells that it must not be there.
func selectOwnPods(j *batchv1.Job) {
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	template := &j.Spec.Template
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	for label, value := range map[string]string{
		batchv1.ControllerUidLabel: string(j.UID), batchv1.JobNameLabel: j.Name,
		"controller-uid": string(j.UID), "job-name": j.Name,
	} {
		if _, given := template.Labels[label]; !given {
			template.Labels[label] = value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, given := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !given {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

func jobStatusStrategy() *Strategy {
	return statusStrategy(func(j *batchv1.Job) *batchv1.JobSpec { return &j.Spec })
}

func cronJobStrategy() Strategy {
	return mainStrategy(func(c *batchv1.CronJob) *batchv1.CronJobStatus { return &c.Status })
}

func cronJobStatusStrategy() *Strategy {
	return statusStrategy(func(c *batchv1.CronJob) *batchv1.CronJobSpec { return &c.Spec })
}
