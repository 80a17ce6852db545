package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// burst is the most pods created or deleted in one go.
const burst = 500

// snapshot is what a decision is made from.
type snapshot struct {
	job *batchv1.Job
	// pods are all pods that the Job controls.
	pods []*corev1.Pod
	// streak is what is remembered of pods that may be gone.
	streak streak
}

// plan is what to do for one Job, in this order.
type plan struct {
	create []creation
	remove []*corev1.Pod
	// forget says that the pods to remove lose their finalizer first, because
	// they did not fail: there were too many, or the others did enough.
	forget bool
	status batchv1.JobStatus
	// release are the pods whose finalizer comes off once status is written.
	release []*corev1.Pod
	events  []note
	// streak is what is to be remembered.
	streak streak
	// again is when to look again even if nothing happens.
	again time.Duration
}

// note is an event for users.
type note struct{ kind, reason, message string }

// decide says how to bring the Job nearer to its end.
func decide(s snapshot, now time.Time) plan {
	y := newState(s, now)
	switch {
	case terminal(s.job) != nil:
		return plan{status: s.job.Status}
	case s.job.DeletionTimestamp != nil:
		return y.letGo()
	}
	y.account()
	y.judge()
	y.manage()
	y.conclude()
	return y.plan
}

// state is one decision in the making.
type state struct {
	plan
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time

	active             []*corev1.Pod
	ready, terminating int32
	ended              map[types.UID]bool // uids named in status as not counted yet
	completed          indexes
	failedIndexes      indexes
	limit              int // indexes are below it
	// target is why the Job ends: SuccessCriteriaMet or FailureTarget.
	target *batchv1.JobCondition
}

func newState(s snapshot, now time.Time) *state {
	y := &state{job: s.job, pods: s.pods, now: now, ended: map[types.UID]bool{}, limit: completions(s.job)}
	y.status = *s.job.Status.DeepCopy()
	y.streak = s.streak.with(s.job, s.pods)
	for _, pod := range s.pods {
		switch {
		case workload.Active(pod):
			y.active = append(y.active, pod)
			if workload.Ready(pod) {
				y.ready++
			}
		case !workload.Finished(pod):
			y.terminating++
		}
	}
	if indexed(s.job) {
		y.completed = parseIndexes(y.status.CompletedIndexes, y.limit)
		if y.status.FailedIndexes != nil {
			y.failedIndexes = parseIndexes(*y.status.FailedIndexes, y.limit)
		}
	}
	return y
}

// letGo takes the finalizer off all pods of a Job that is being deleted: there
// is nobody left to count for.
func (y *state) letGo() plan {
	p := plan{status: y.status}
	for _, pod := range y.pods {
		if tracked(pod) {
			p.release = append(p.release, pod)
		}
	}
	return p
}

// succeeded counts what the status will come to show.
func (y *state) succeeded() int32 {
	if indexed(y.job) {
		return y.completed.total()
	}
	return y.status.Succeeded + int32(len(y.uncounted().Succeeded))
}

func (y *state) failed() int32 {
	return y.status.Failed + int32(len(y.uncounted().Failed))
}

func (y *state) uncounted() batchv1.UncountedTerminatedPods {
	if y.status.UncountedTerminatedPods == nil {
		return batchv1.UncountedTerminatedPods{}
	}
	return *y.status.UncountedTerminatedPods
}

// judge finds out whether the Job has come to its end, and how.
func (y *state) judge() {
	if c := ending(y.status); c != nil {
		y.target = c
		return
	}
	spec := &y.job.Spec
	switch {
	case y.failJob():
	case spec.BackoffLimit != nil && y.failed() > *spec.BackoffLimit, y.restartedTooOften():
		y.fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case y.pastDeadline():
		y.fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case y.tooManyIndexesFailed():
	default:
		y.judgeSuccess()
	}
}

func (y *state) judgeSuccess() {
	if message, ok := successRule(y.job, y.completed); ok {
		y.target = y.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, message)
		return
	}
	reached := false
	if want := y.job.Spec.Completions; want != nil {
		reached = y.succeeded() >= *want
	} else {
		reached = y.succeeded() > 0
	}
	if reached && len(y.active) == 0 {
		y.target = y.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached,
			"Reached expected number of succeeded pods")
	}
}

func (y *state) suspended() bool { return y.job.Spec.Suspend != nil && *y.job.Spec.Suspend }

func (y *state) condition(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(y.now)
	return &batchv1.JobCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		LastProbeTime: now, LastTransitionTime: now,
	}
}

func (y *state) fail(reason, message string) {
	y.target = y.condition(batchv1.JobFailureTarget, reason, message)
}

// failJob asks the failure policy whether one pod's failure ends it all.
func (y *state) failJob() bool {
	if y.job.Spec.PodFailurePolicy == nil {
		return false
	}
	for _, pod := range y.pods {
		if !failed(y.job, pod) {
			continue
		}
		if v := judge(y.job, pod); v.message != "" {
			y.fail(batchv1.JobReasonPodFailurePolicy, v.message)
			return true
		}
	}
	return false
}

// restartedTooOften counts restarts inside of pods against the backoff limit.
func (y *state) restartedTooOften() bool {
	if y.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure || y.job.Spec.BackoffLimit == nil {
		return false
	}
	var restarts int32
	for _, pod := range y.active {
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				restarts += list[i].RestartCount
			}
		}
	}
	return restarts > 0 && restarts >= *y.job.Spec.BackoffLimit
}

// pastDeadline also notes when the deadline comes.
func (y *state) pastDeadline() bool {
	limit, since := y.job.Spec.ActiveDeadlineSeconds, y.status.StartTime
	if limit == nil || since == nil || y.suspended() {
		return false
	}
	left := since.Add(time.Duration(*limit) * time.Second).Sub(y.now)
	if left > 0 {
		y.wake(left)
	}
	return left <= 0
}

func (y *state) wake(in time.Duration) {
	if y.again == 0 || in < y.again {
		y.again = in
	}
}

func (y *state) tooManyIndexesFailed() bool {
	if y.job.Spec.BackoffLimitPerIndex == nil || y.failedIndexes.total() == 0 {
		return false
	}
	if most := y.job.Spec.MaxFailedIndexes; most != nil && y.failedIndexes.total() > *most {
		y.fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
		return true
	}
	if y.failedIndexes.total()+y.completed.total() >= int32(y.limit) {
		y.fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		return true
	}
	return false
}

// conclude fills the status. The end itself is written only when all pods are
// gone and counted.
func (y *state) conclude() {
	st := &y.status
	st.Active = int32(len(y.active) - len(y.remove) + len(y.create))
	for _, pod := range y.remove { // there are never more ready ones than active ones
		if workload.Ready(pod) {
			y.ready--
		}
	}
	terminating := y.terminating + int32(len(y.remove))
	st.Ready, st.Terminating = &y.ready, &terminating
	if st.StartTime == nil && !y.suspended() {
		now := metav1.NewTime(y.now)
		st.StartTime = &now
		if limit := y.job.Spec.ActiveDeadlineSeconds; limit != nil {
			y.wake(time.Duration(*limit) * time.Second)
		}
	}
	if y.target == nil {
		y.markSuspended()
		return
	}
	if ending(*st) == nil {
		st.Conditions = append(st.Conditions, *y.target)
	}
	u := y.uncounted()
	if st.Active > 0 || terminating > 0 || len(u.Succeeded)+len(u.Failed)+len(y.release) > 0 || y.tracksSome() {
		return
	}
	y.finish()
}

// tracksSome says that a pod still has its finalizer.
func (y *state) tracksSome() bool { return slices.ContainsFunc(y.pods, tracked) }

func (y *state) finish() {
	zero := int32(0)
	y.status.Ready, y.status.Terminating = &zero, &zero
	if y.target.Type == batchv1.JobSuccessCriteriaMet {
		end := y.condition(batchv1.JobComplete, y.target.Reason, y.target.Message)
		y.status.CompletionTime = &end.LastTransitionTime
		y.status.Conditions = append(y.status.Conditions, *end)
		y.events = append(y.events, note{corev1.EventTypeNormal, "Completed", "Job completed"})
		return
	}
	y.status.Conditions = append(y.status.Conditions, *y.condition(batchv1.JobFailed, y.target.Reason, y.target.Message))
	y.events = append(y.events, note{corev1.EventTypeWarning, y.target.Reason, y.target.Message})
}

// markSuspended notes suspending and resuming. The deadline counts from the
// last resumption.
func (y *state) markSuspended() {
	at := slices.IndexFunc(y.status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended })
	is := at >= 0 && y.status.Conditions[at].Status == corev1.ConditionTrue
	if is == y.suspended() {
		return
	}
	next := y.condition(batchv1.JobSuspended, "JobSuspended", "Job suspended")
	event := note{corev1.EventTypeNormal, "Suspended", "Job suspended"}
	if y.suspended() {
		y.status.StartTime = nil
	} else {
		next = y.condition(batchv1.JobSuspended, "JobResumed", "Job resumed")
		next.Status = corev1.ConditionFalse
		event = note{corev1.EventTypeNormal, "Resumed", "Job resumed"}
		now := metav1.NewTime(y.now)
		y.status.StartTime = &now
	}
	if at >= 0 {
		y.status.Conditions[at] = *next
	} else {
		y.status.Conditions = append(y.status.Conditions, *next)
	}
	y.events = append(y.events, event)
}

// terminal is the condition of a Job that has ended, or nil.
func terminal(job *batchv1.Job) *batchv1.JobCondition {
	return find(job.Status, batchv1.JobComplete, batchv1.JobFailed)
}

// ending is the condition of a Job that is bound to end, or nil.
func ending(status batchv1.JobStatus) *batchv1.JobCondition {
	return find(status, batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget)
}

func find(status batchv1.JobStatus, kinds ...batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range status.Conditions {
		c := &status.Conditions[i]
		if slices.Contains(kinds, c.Type) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// expiry is when a finished Job's time to live is over.
func expiry(job *batchv1.Job) (time.Time, bool) {
	end := terminal(job)
	if end == nil || job.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}, false
	}
	return end.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
}
