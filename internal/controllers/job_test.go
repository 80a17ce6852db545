package controllers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newJob(name string) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: meta(name),
		Spec: batchv1.JobSpec{
			Parallelism: ptr(int32(2)), Completions: ptr(int32(3)), BackoffLimit: ptr(int32(1)),
			ManualSelector: ptr(true), Selector: selector("job", name), Template: template("job", name),
		},
	}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return job
}

func (e *env) awaitJob(name string, what string, ok func(batchv1.JobStatus) bool) batchv1.JobStatus {
	e.Helper()
	job := &batchv1.Job{ObjectMeta: meta(name)}
	e.eventually(what, func() error {
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(job), job); err != nil {
			return err
		}
		if !ok(job.Status) {
			return fmt.Errorf("status %+v", job.Status)
		}
		return nil
	})
	return job.Status
}

func jobEnded(kind batchv1.JobConditionType) func(batchv1.JobStatus) bool {
	return func(s batchv1.JobStatus) bool {
		return slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == kind && c.Status == corev1.ConditionTrue
		})
	}
}

func TestJobCompletes(t *testing.T) {
	e := start(t)
	e.create(newJob("work"))
	for _, pod := range e.awaitPods(2, "job", "work") {
		if !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
			t.Errorf("pod %s is not tracked", pod.Name)
		}
		e.setPhase(pod, corev1.PodSucceeded, false)
	}
	e.eventually("a third pod", func() error {
		if n := len(e.pods("job", "work")); n != 3 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	e.awaitJob("work", "two counted", func(s batchv1.JobStatus) bool { return s.Succeeded == 2 && s.Active == 1 })
	for _, pod := range e.pods("job", "work") {
		e.setPhase(pod, corev1.PodSucceeded, false)
	}
	status := e.awaitJob("work", "completion", jobEnded(batchv1.JobComplete))
	if status.Succeeded != 3 || status.Failed != 0 || status.Active != 0 || status.CompletionTime == nil {
		t.Errorf("status %+v", status)
	}
	for _, pod := range e.pods("job", "work") {
		if len(pod.Finalizers) > 0 {
			t.Errorf("pod %s keeps finalizers %v", pod.Name, pod.Finalizers)
		}
	}
}

func TestJobGivesUp(t *testing.T) {
	e := start(t)
	job := newJob("futile")
	job.Spec.Parallelism = ptr(int32(1))
	job.Spec.BackoffLimit = ptr(int32(0))
	e.create(job)
	e.setPhase(e.awaitPods(1, "job", "futile")[0], corev1.PodFailed, false)
	status := e.awaitJob("futile", "failure", jobEnded(batchv1.JobFailed))
	if status.Failed != 1 {
		t.Errorf("status %+v", status)
	}
	if last := status.Conditions[len(status.Conditions)-1]; last.Reason != batchv1.JobReasonBackoffLimitExceeded {
		t.Errorf("condition %+v", last)
	}
}

func TestJobSuspendsAndResumes(t *testing.T) {
	e := start(t)
	e.run("nothing", "") // no agent: pods that no node has go at once
	job := newJob("pausing")
	e.create(job)
	e.awaitPods(2, "job", "pausing")
	change(e, job, func(j *batchv1.Job) { j.Spec.Suspend = ptr(true) })
	e.awaitPods(0, "job", "pausing")
	status := e.awaitJob("pausing", "suspension", jobEnded(batchv1.JobSuspended))
	if status.StartTime != nil || status.Failed != 0 {
		t.Errorf("suspended status %+v", status)
	}
	change(e, job, func(j *batchv1.Job) { j.Spec.Suspend = ptr(false) })
	e.awaitPods(2, "job", "pausing")
	e.awaitJob("pausing", "resumption", func(s batchv1.JobStatus) bool { return s.StartTime != nil && s.Active == 2 })
}

func TestIndexedJob(t *testing.T) {
	e := start(t)
	job := newJob("indexed")
	job.Spec.CompletionMode = ptr(batchv1.IndexedCompletion)
	job.Spec.Parallelism = ptr(int32(3))
	job.Spec.BackoffLimitPerIndex = ptr(int32(0))
	job.Spec.BackoffLimit = ptr(int32(100))
	e.create(job)
	pods := e.awaitPods(3, "job", "indexed")
	for _, pod := range pods {
		index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
		if pod.Labels[batchv1.JobCompletionIndexAnnotation] != index || pod.Spec.Hostname != "indexed-"+index {
			t.Errorf("pod %s of index %s: labels %v, hostname %s", pod.Name, index, pod.Labels, pod.Spec.Hostname)
		}
		phase := corev1.PodSucceeded
		if index == "1" {
			phase = corev1.PodFailed
		}
		e.setPhase(pod, phase, false)
	}
	status := e.awaitJob("indexed", "end", jobEnded(batchv1.JobFailed))
	if status.CompletedIndexes != "0,2" || status.FailedIndexes == nil || *status.FailedIndexes != "1" || status.Succeeded != 2 || status.Failed != 1 {
		t.Errorf("status %+v", status)
	}
}

func TestFinishedJobExpires(t *testing.T) {
	e := start(t)
	job := newJob("brief")
	job.Spec.Completions, job.Spec.Parallelism = ptr(int32(1)), ptr(int32(1))
	job.Spec.TTLSecondsAfterFinished = ptr(int32(0))
	e.create(job)
	e.setPhase(e.awaitPods(1, "job", "brief")[0], corev1.PodSucceeded, false)
	e.eventually("deletion", func() error {
		err := e.Get(e.ctx, client.ObjectKeyFromObject(job), job)
		if err == nil && job.DeletionTimestamp == nil {
			return errors.New("it lives")
		}
		return client.IgnoreNotFound(err)
	})
}

func TestPodsOfADeletedJobAreReleased(t *testing.T) {
	e := start(t)
	job := newJob("orphaning")
	e.create(job)
	e.awaitPods(2, "job", "orphaning")
	if err := e.Client.Delete(e.ctx, job, client.PropagationPolicy("Background")); err != nil {
		t.Fatal(err)
	}
	e.eventually("release", func() error {
		for _, pod := range e.pods("job", "orphaning") {
			if len(pod.Finalizers) > 0 {
				return fmt.Errorf("pod %s has %v", pod.Name, pod.Finalizers)
			}
		}
		return nil
	})
}
