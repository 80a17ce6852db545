package job

import (
	"math"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// noIndex marks a pod that has no completion index, or none that counts.
	noIndex = -1
	// firstBackoff is how long the first failed pod's replacement waits; each
	// further failure in a row doubles it up to maxBackoff.
	firstBackoff = 10 * time.Second
	maxBackoff   = 10 * time.Minute
	// randomLength is how much the API server adds to a generated name.
	randomLength = 5
	indexEnv     = "JOB_COMPLETION_INDEX"
)

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// completions bounds the indexes.
func completions(job *batchv1.Job) int {
	if job.Spec.Completions == nil {
		return math.MaxInt32
	}
	return int(*job.Spec.Completions)
}

// replaceFailedOnly says that a terminating pod is replaced only when it has
// really ended.
func replaceFailedOnly(job *batchv1.Job) bool {
	p := job.Spec.PodReplacementPolicy
	return p != nil && *p == batchv1.Failed
}

// indexOf is the pod's completion index.
func indexOf(pod *corev1.Pod) int {
	n, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 {
		return noIndex
	}
	return n
}

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// failed says that the pod counts as failed: a pod that is on its way out never
// comes to succeed, unless the Job waits for what becomes of it.
func failed(job *batchv1.Job, pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replaceFailedOnly(job) && pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded
}

func annotated(pod *corev1.Pod, key string) int {
	n, _ := strconv.Atoi(pod.Annotations[key])
	return max(n, 0)
}

// finishTime is when the pod ended, as well as its status tells.
func finishTime(pod *corev1.Pod) time.Time {
	if last := lastExit(pod); !last.IsZero() {
		return last
	}
	if c := workload.Condition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		var grace int64
		if pod.DeletionGracePeriodSeconds != nil {
			grace = *pod.DeletionGracePeriodSeconds
		}
		return pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	}
	return pod.CreationTimestamp.Time
}

// lastExit is when the last container ended, sidecars included; zero while one runs.
func lastExit(pod *corev1.Pod) time.Time {
	states := slices.Clone(pod.Status.ContainerStatuses)
	for i := range pod.Status.InitContainerStatuses {
		status := &pod.Status.InitContainerStatuses[i]
		if slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == status.Name && workload.Sidecar(&c)
		}) {
			states = append(states, *status)
		}
	}
	var last time.Time
	for i := range states {
		t := states[i].State.Terminated
		if t == nil || t.FinishedAt.IsZero() {
			return time.Time{}
		}
		if t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	return last
}

// backoff is how long after the last of so many failures the next try waits.
func backoff(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	if failures > 7 {
		return maxBackoff
	}
	return min(firstBackoff<<(failures-1), maxBackoff)
}

// creation is one pod to make.
type creation struct {
	index           int // noIndex for a Job without indexes
	failures        int
	ignoredFailures int
}

// build makes the pod.
func build(job *batchv1.Job, c creation) *corev1.Pod {
	pod := workload.FromTemplate(&job.Spec.Template, job, metav1.NewControllerRef(job, kind))
	pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	if c.index == noIndex {
		return pod
	}
	index := strconv.Itoa(c.index)
	pod.Annotations = put(pod.Annotations, batchv1.JobCompletionIndexAnnotation, index)
	pod.Labels = put(pod.Labels, batchv1.JobCompletionIndexAnnotation, index)
	if job.Spec.BackoffLimitPerIndex != nil {
		pod.Annotations = put(pod.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(c.failures))
		if c.ignoredFailures > 0 {
			pod.Annotations = put(pod.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(c.ignoredFailures))
		}
	}
	for i := range pod.Spec.InitContainers {
		tellIndex(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		tellIndex(&pod.Spec.Containers[i])
	}
	pod.Spec.Hostname = job.Name + "-" + index
	suffix := "-" + index + "-"
	room := validation.DNS1123LabelMaxLength - randomLength - len(suffix)
	pod.GenerateName = job.Name[:min(len(job.Name), room)] + suffix
	return pod
}

func put(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func tellIndex(c *corev1.Container) {
	for i := range c.Env {
		if c.Env[i].Name == indexEnv {
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
	}})
}
