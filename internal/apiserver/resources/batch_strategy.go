package resources

import batchv1 "k8s.io/api/batch/v1"

func jobStrategy() Strategy {
	return mainStrategy(func(j *batchv1.Job) *batchv1.JobStatus { return &j.Status })
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
