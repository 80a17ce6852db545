package workloads

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedbatch "k8s.io/client-go/kubernetes/typed/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

// job runs so many pods, two at a time, that end with the given exit codes.
func job(name string, completions int32, exits string) *batchv1.Job {
	t := template(name, "batch:1")
	t.Labels = map[string]string{"app": name}
	t.Annotations = map[string]string{}
	if exits != "" {
		t.Annotations[simnode.Exit] = exits
	}
	t.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{ObjectMeta: named(name), Spec: batchv1.JobSpec{Completions: &completions, Parallelism: ptr.To[int32](2), Template: t}}
}

// indexedJob is a job of indexes, whose pods end with the exit codes given by index.
func indexedJob(name string, completions int32, exits string, byIndex map[int]string) *batchv1.Job {
	j := job(name, completions, exits)
	j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	for index, codes := range byIndex {
		j.Spec.Template.Annotations[simnode.ExitOf+strconv.Itoa(index)] = codes
	}
	return j
}

func (c *cluster) jobs() typedbatch.JobInterface { return c.BatchV1().Jobs(c.namespace) }

func (c *cluster) createJob(j *batchv1.Job) *batchv1.Job {
	c.Helper()
	return must[*batchv1.Job](c)(c.jobs().Create(c.ctx, j, metav1.CreateOptions{}))
}

func jobCondition(j *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == kind && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// ends waits until the job has ended that way for that reason.
func (c *cluster) ends(name string, how batchv1.JobConditionType, reason string) *batchv1.Job {
	c.Helper()
	j := until(c, c.jobs(), name, "ended", func(j *batchv1.Job) bool {
		return jobCondition(j, batchv1.JobComplete) != nil || jobCondition(j, batchv1.JobFailed) != nil
	})
	if got := jobCondition(j, how); got == nil || got.Reason != reason {
		c.Fatalf("job %s: got conditions %+v, want %s for %s", name, j.Status.Conditions, how, reason)
	}
	if u := j.Status.UncountedTerminatedPods; j.Status.Active != 0 || *j.Status.Ready != 0 || *j.Status.Terminating != 0 || u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		c.Errorf("job %s has ended with %+v", name, j.Status)
	}
	return j
}

func TestJob(t *testing.T) {
	c := start(t, 2)
	// Conformance: [sig-apps] Job should adopt matching orphans and release non-matching pods
	c.try("adopt and release", jobAdopts)
	// Conformance: [sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition
	c.try("ignore disruptions", jobIgnoresDisruption)
	// Conformance: [sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early
	c.try("fail early", jobFailsEarly)
	// Conformance: [sig-apps] Job should apply changes to a job status
	c.try("status", jobStatus)
	// Conformance: [sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname
	c.try("indexed", jobIndexed)
	// Conformance: [sig-apps] Job should delete a job
	c.try("delete", jobDeleted)
	// Conformance: [sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex
	c.try("backoff per index", jobBackoffPerIndex)
	// Conformance: [sig-apps] Job should manage the lifecycle of a job
	c.try("lifecycle", jobLifecycle)
	// Conformance: [sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy
	c.try("fail index", jobFailIndex)
	// Conformance: [sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes
	c.try("max failed indexes", jobMaxFailedIndexes)
	// Conformance: [sig-apps] Job with successPolicy should succeeded when all indexes succeeded
	c.try("success policy, all", func(c *cluster) {
		j := indexedJob("batch", 2, "0", nil)
		j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0-1")}}}
		c.createJob(j)
		c.succeedsByPolicy("0,1")
	})
	// Conformance: [sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending
	c.try("success policy, count", func(c *cluster) {
		j := indexedJob("batch", 5, "", map[int]string{0: "0"})
		j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: ptr.To[int32](1)}}}
		c.createJob(j)
		c.succeedsByPolicy("0")
	})
	// Conformance: [sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending
	c.try("success policy, indexes", func(c *cluster) {
		j := indexedJob("batch", 5, "", map[int]string{0: "0"})
		j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0")}}}
		c.createJob(j)
		c.succeedsByPolicy("0")
	})
	c.try("backoff limit", jobBackoffLimit)
	c.try("suspend", jobSuspended)
	c.try("deadline", jobDeadline)
	c.try("time to live", jobTTL)
	c.try("managed by", jobManagedBy)
	c.try("replacement", jobReplacement)
	c.try("elastic", jobElastic)
}

func jobAdopts(c *cluster) {
	j := job("batch", 4, "")
	j = c.createJob(j)
	pods := c.readyPods("batch", 2)
	// An orphan comes back to its job.
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, pods[0].Name, types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{}))
	c.ownedBy(pods[0].Name, j.UID)
	// A pod without the job's labels is not the job's any more, and none of its counting.
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, pods[0].Name, types.MergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{}))
	released := c.ownedBy(pods[0].Name, "")
	if slices.Contains(released.Finalizers, batchv1.JobTrackingFinalizer) {
		c.Errorf("finalizers of the released pod: got %v", released.Finalizers)
	}
	c.readyPods("batch", 2) // another has taken its place
}

func jobIgnoresDisruption(c *cluster) {
	j := job("batch", 2, "")
	j.Spec.BackoffLimit = ptr.To[int32](0)
	j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
	}}}
	c.createJob(j)
	victim := c.readyPods("batch", 2)[0]
	c.ok(c.CoreV1().Pods(c.namespace).EvictV1(c.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: victim.Name}}))
	untilGone(c, c.CoreV1().Pods(c.namespace), victim)
	for _, pod := range c.readyPods("batch", 2) {
		c.annotate(pod.Name, simnode.Exit, "0")
	}
	if j = c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached); j.Status.Failed != 0 || j.Status.Succeeded != 2 {
		c.Errorf("counted: %d failed, %d succeeded; want 0 and 2", j.Status.Failed, j.Status.Succeeded)
	}
}

func jobFailsEarly(c *cluster) {
	j := job("batch", 4, "42")
	j.Spec.BackoffLimit = ptr.To[int32](6)
	j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action:      batchv1.PodFailurePolicyActionFailJob,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: ptr.To("main"), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}},
	}}}
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy)
	message := jobCondition(j, batchv1.JobFailed).Message
	if !strings.HasPrefix(message, "Container main for pod "+c.namespace+"/batch-") || !strings.HasSuffix(message, " failed with exit code 42 matching FailJob rule at index 0") {
		c.Errorf("message: got %q", message)
	}
	if jobCondition(j, batchv1.JobFailureTarget) == nil {
		c.Error("the job never had the condition FailureTarget")
	}
}

func jobStatus(c *cluster) {
	c.createJob(job("batch", 4, ""))
	until(c, c.jobs(), "batch", "active", func(j *batchv1.Job) bool {
		return j.Status.Active == 2 && *j.Status.Ready == 2 && j.Status.StartTime != nil
	})
	writesConditions(c, c.jobs(), "batch", func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: "StatusUpdate", Status: "True", Reason: reasonUpdated})
	})
}

func jobIndexed(c *cluster) {
	j := indexedJob("batch", 4, "0", nil)
	c.createJob(j)
	j = c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	if j.Status.CompletedIndexes != "0-3" || j.Status.Succeeded != 4 {
		c.Errorf("completed: got %q, %d", j.Status.CompletedIndexes, j.Status.Succeeded)
	}
	list := must[*corev1.PodList](c)(c.CoreV1().Pods(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "app=batch"}))
	var got []string
	for _, pod := range list.Items {
		index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
		got = append(got, index)
		if pod.Labels[batchv1.JobCompletionIndexAnnotation] != index || pod.Spec.Hostname != "batch-"+index || !strings.HasPrefix(pod.Name, "batch-"+index+"-") {
			c.Errorf("pod %s of index %s: hostname %s, labels %v", pod.Name, index, pod.Spec.Hostname, pod.Labels)
		}
		if env := pod.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" {
			c.Errorf("environment of pod %s: %v", pod.Name, env)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		c.Errorf("indexes of the pods: %v", got)
	}
}

func jobDeleted(c *cluster) {
	j := c.createJob(job("batch", 2, ""))
	c.readyPods("batch", 2)
	c.ok(c.jobs().Delete(c.ctx, "batch", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}))
	untilGone(c, c.jobs(), j)
	c.readyPods("batch", 0)
}

// jobBackoffPerIndex has the indexes of odd numbers fail; each may once.
func jobBackoffPerIndex(c *cluster) {
	j := indexedJob("batch", 4, "0", map[int]string{1: "1", 3: "1"})
	j.Spec.BackoffLimitPerIndex = ptr.To[int32](0)
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonFailedIndexes)
	if got := *j.Status.FailedIndexes; got != "1,3" {
		c.Errorf("failed indexes: got %q", got)
	}
	if j.Status.CompletedIndexes != "0,2" || j.Status.Failed != 2 || j.Status.Succeeded != 2 {
		c.Errorf("status: got %+v", j.Status)
	}
	if got := jobCondition(j, batchv1.JobFailed).Message; got != "Job has failed indexes" {
		c.Errorf("message: got %q", got)
	}
}

func jobFailIndex(c *cluster) {
	j := indexedJob("batch", 2, "0", map[int]string{0: "42"})
	j.Spec.BackoffLimitPerIndex = ptr.To[int32](1)
	j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action:      batchv1.PodFailurePolicyActionFailIndex,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}},
	}}}
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonFailedIndexes)
	if *j.Status.FailedIndexes != "0" || j.Status.CompletedIndexes != "1" || j.Status.Failed != 1 {
		c.Errorf("status: got %+v", j.Status)
	}
}

func jobMaxFailedIndexes(c *cluster) {
	j := indexedJob("batch", 10, "1", nil)
	j.Spec.Parallelism = ptr.To[int32](10)
	j.Spec.BackoffLimitPerIndex = ptr.To[int32](0)
	j.Spec.MaxFailedIndexes = ptr.To[int32](4)
	// One index goes on, until the end of the job ends it.
	j.Spec.Template.Annotations[simnode.ExitOf+"9"] = ""
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonMaxFailedIndexesExceeded)
	if j.Status.CompletedIndexes != "" || *j.Status.FailedIndexes == "" {
		c.Errorf("status: got %+v", j.Status)
	}
}

// succeedsByPolicy waits until the job has ended by its success policy.
func (c *cluster) succeedsByPolicy(completed string) {
	c.Helper()
	j := c.ends("batch", batchv1.JobComplete, batchv1.JobReasonSuccessPolicy)
	if j.Status.CompletedIndexes != completed {
		c.Errorf("completed indexes: got %q, want %q", j.Status.CompletedIndexes, completed)
	}
	if got := jobCondition(j, batchv1.JobSuccessCriteriaMet); got == nil || got.Message != "Matched rules at index 0" {
		c.Errorf("condition SuccessCriteriaMet: got %+v", got)
	}
}

func jobLifecycle(c *cluster) {
	j := job("batch", 2, "")
	j.Spec.Suspend = ptr.To(true)
	j.Labels["e2e-job-label"] = "yes"
	c.createJob(j)
	until(c, c.jobs(), "batch", "suspended", func(j *batchv1.Job) bool { return jobCondition(j, batchv1.JobSuspended) != nil })
	patched := must[*batchv1.Job](c)(c.jobs().Patch(c.ctx, "batch", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"batch":"patched"}}}`), metav1.PatchOptions{}))
	if patched.Labels["batch"] != "patched" {
		c.Errorf("labels: got %v", patched.Labels)
	}
	change(c, c.jobs(), "batch", func(j *batchv1.Job) {
		j.Spec.Suspend = ptr.To(false)
		if j.Annotations == nil {
			j.Annotations = map[string]string{}
		}
		j.Annotations["updated"] = "true"
	})
	until(c, c.jobs(), "batch", "active", func(j *batchv1.Job) bool { return j.Status.Active == 2 && j.Annotations["updated"] == "true" })
	for _, pod := range c.readyPods("batch", 2) {
		c.annotate(pod.Name, simnode.Exit, "0")
	}
	c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	all := must[*batchv1.JobList](c)(c.BatchV1().Jobs("").List(c.ctx, metav1.ListOptions{LabelSelector: "batch=patched"}))
	if len(all.Items) != 1 {
		c.Errorf("list of all namespaces: got %d", len(all.Items))
	}
	c.ok(c.jobs().DeleteCollection(c.ctx, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}, metav1.ListOptions{LabelSelector: "batch=patched"}))
	untilGone(c, c.jobs(), patched)
	c.readyPods("batch", 0)
}

func jobBackoffLimit(c *cluster) {
	j := job("batch", 3, "1")
	j.Spec.BackoffLimit = ptr.To[int32](1)
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)
	if got := jobCondition(j, batchv1.JobFailed).Message; got != "Job has reached the specified backoff limit" {
		c.Errorf("message: got %q", got)
	}
	if got := c.event("batch", "BackoffLimitExceeded"); got != "Job has reached the specified backoff limit" {
		c.Errorf("event: got %q", got)
	}
}

func jobSuspended(c *cluster) {
	c.createJob(job("batch", 2, ""))
	c.readyPods("batch", 2)
	change(c, c.jobs(), "batch", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	c.readyPods("batch", 0)
	j := until(c, c.jobs(), "batch", "suspended", func(j *batchv1.Job) bool {
		return jobCondition(j, batchv1.JobSuspended) != nil && j.Status.Active == 0
	})
	if j.Status.Failed != 0 || j.Status.StartTime != nil {
		c.Errorf("a suspended job has failed pods or a start: %+v", j.Status)
	}
	change(c, c.jobs(), "batch", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	for _, pod := range c.readyPods("batch", 2) {
		c.annotate(pod.Name, simnode.Exit, "0")
	}
	c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
}

func jobDeadline(c *cluster) {
	j := job("batch", 2, "")
	j.Spec.ActiveDeadlineSeconds = ptr.To[int64](1)
	c.createJob(j)
	j = c.ends("batch", batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)
	if got := jobCondition(j, batchv1.JobFailed).Message; got != "Job was active longer than specified deadline" {
		c.Errorf("message: got %q", got)
	}
}

func jobTTL(c *cluster) {
	j := job("batch", 1, "0")
	j.Spec.TTLSecondsAfterFinished = ptr.To[int32](0)
	untilGone(c, c.jobs(), c.createJob(j))
	c.readyPods("batch", 0)
}

func jobManagedBy(c *cluster) {
	j := job("batch", 1, "0")
	j.Spec.ManagedBy = ptr.To("example.com/another")
	c.createJob(j)
	c.createJob(job("ours", 1, "0"))
	c.ends("ours", batchv1.JobComplete, batchv1.JobReasonCompletionsReached) // it came later: the other has been looked at
	c.readyPods("batch", 0)
	if j = must[*batchv1.Job](c)(c.jobs().Get(c.ctx, "batch", metav1.GetOptions{})); j.Status.StartTime != nil {
		c.Errorf("status of another's job: %+v", j.Status)
	}
}

// jobReplacement replaces a deleted pod only when it has ended.
func jobReplacement(c *cluster) {
	j := job("batch", 1, "")
	j.Spec.Parallelism = ptr.To[int32](1)
	j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
	c.createJob(j)
	pod := c.readyPods("batch", 1)[0]
	stop := never(c, c.CoreV1().Pods(c.namespace), map[string]string{"app": "batch"}, "two pods that have not ended", func(pods []*corev1.Pod) bool {
		n := 0
		for _, pod := range pods {
			if pod.Status.Phase == corev1.PodPending || pod.Status.Phase == corev1.PodRunning {
				n++
			}
		}
		return n > 1
	})
	defer stop()
	c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, pod.Name, metav1.DeleteOptions{}))
	untilGone(c, c.CoreV1().Pods(c.namespace), pod)
	next := c.readyPods("batch", 1)[0]
	c.annotate(next.Name, simnode.Exit, "0")
	if j = c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached); j.Status.Failed != 1 {
		c.Errorf("failed: got %d, want 1", j.Status.Failed)
	}
}

// jobElastic changes the number of indexes while the job runs.
func jobElastic(c *cluster) {
	j := indexedJob("batch", 3, "", nil)
	j.Spec.Parallelism = ptr.To[int32](3)
	c.createJob(j)
	c.readyPods("batch", 3)
	change(c, c.jobs(), "batch", func(j *batchv1.Job) { j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](2), ptr.To[int32](2) })
	for _, pod := range c.readyPods("batch", 2) {
		if pod.Annotations[batchv1.JobCompletionIndexAnnotation] == "2" {
			c.Error("the pod of the index that is not needed any more is still there")
		}
		c.annotate(pod.Name, simnode.Exit, "0")
	}
	if j = c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached); j.Status.CompletedIndexes != "0,1" {
		c.Errorf("completed: got %s", fmt.Sprint(j.Status.CompletedIndexes))
	}
}
