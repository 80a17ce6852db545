package batch

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// JobStatusUpdate checks a changed status: it never goes back on what it said,
// and says nothing that contradicts itself. What an older status got wrong may
// stay as long as it is not touched.
func JobStatusUpdate(j, old *batchv1.Job) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&j.ObjectMeta, &old.ObjectMeta)}
	path, s := field.NewPath("status"), &j.Status
	for _, n := range []struct {
		name  string
		value int32
	}{{"active", s.Active}, {"succeeded", s.Succeeded}, {"failed", s.Failed}, {"ready", check.Deref(s.Ready, 0)}, {"terminating", check.Deref(s.Terminating, 0)}} {
		l.NonNegative(path.Child(n.name), int64(n.value))
	}
	uncounted(&l, s.UncountedTerminatedPods, path.Child("uncountedTerminatedPods"))
	c := conditions{List: &l, now: state(s), old: state(&old.Status), path: path.Child("conditions")}
	c.together(j, old)
	c.kept()
	finished(&l, j, old, path)
	jobTimes(&l, j, old, path)
	statusIndexes(&l, j, old, path)
	if s.Ready != nil && *s.Ready > s.Active && (!equal(s.Ready, old.Status.Ready) || s.Active != old.Status.Active) {
		l.Invalid(path.Child("ready"), *s.Ready, "cannot set more ready pods than active")
	}
	if s.Failed < old.Status.Failed {
		l.Invalid(path.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	elastic := indexed(j) && equal(j.Spec.Completions, j.Spec.Parallelism)
	if s.Succeeded < old.Status.Succeeded && !elastic {
		l.Invalid(path.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
	return l.Errors
}

func indexed(j *batchv1.Job) bool {
	return check.Deref(j.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func uncounted(l *check.List, u *batchv1.UncountedTerminatedPods, path *field.Path) {
	if u == nil {
		return
	}
	seen := map[types.UID]bool{}
	for _, list := range []struct {
		name string
		uids []types.UID
	}{{"succeeded", u.Succeeded}, {"failed", u.Failed}} {
		for i, uid := range list.uids {
			at := path.Child(list.name).Index(i)
			switch {
			case uid == "":
				l.Invalid(at, uid, "must not be empty")
			case seen[uid]:
				l.Duplicate(at, uid)
			}
			seen[uid] = true
		}
	}
}

// ends is which of the conditions of a job that end it hold.
type ends struct{ complete, failed, failing, succeeding bool }

func state(s *batchv1.JobStatus) ends {
	var e ends
	for _, c := range s.Conditions {
		holds := c.Status == corev1.ConditionTrue
		switch c.Type {
		case batchv1.JobComplete:
			e.complete = e.complete || holds
		case batchv1.JobFailed:
			e.failed = e.failed || holds
		case batchv1.JobFailureTarget:
			e.failing = e.failing || holds
		case batchv1.JobSuccessCriteriaMet:
			e.succeeding = e.succeeding || holds
		}
	}
	return e
}

func (e ends) finished() bool { return e.complete || e.failed }

// conditions checks the conditions of one job.
type conditions struct {
	*check.List
	now, old ends
	path     *field.Path
}

func (c conditions) refuse(when bool, format string, args ...any) {
	if when {
		c.Invalid(c.path, field.OmitValueType{}, fmt.Sprintf(format, args...))
	}
}

// together checks which conditions can hold at a time, and which need another.
func (c conditions) together(j, old *batchv1.Job) {
	n, o := c.now, c.old
	failedIndexes := !equal(j.Status.FailedIndexes, old.Status.FailedIndexes)
	c.refuse(n.complete && n.failed && (n.complete != o.complete || n.failed != o.failed), "cannot set Complete=True and Failed=true conditions")
	c.refuse(n.complete && n.failing && (n.complete != o.complete || n.failing != o.failing), "cannot set Complete=True and FailureTarget=true conditions")
	c.refuse(n.failed && !n.failing && (!o.failed || failedIndexes), "cannot set Failed=True condition without the FailureTarget=true condition")
	c.refuse(n.complete && !n.succeeding && (!o.complete || o.succeeding), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	c.refuse(n.succeeding && n.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	c.refuse(n.succeeding && n.failing, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	c.refuse(j.Spec.SuccessPolicy != nil && !n.succeeding && n.complete, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
}

// kept checks that what is decided stays so.
func (c conditions) kept() {
	for _, k := range []struct {
		name     batchv1.JobConditionType
		was, now bool
	}{{batchv1.JobFailed, c.old.failed, c.now.failed}, {batchv1.JobComplete, c.old.complete, c.now.complete}, {batchv1.JobFailureTarget, c.old.failing, c.now.failing}} {
		c.refuse(k.was && !k.now, "cannot disable the terminal %s=True condition", k.name)
	}
	c.refuse(c.old.succeeding && !c.now.succeeding, "cannot disable the SuccessCriteriaMet=True condition")
	c.refuse(c.old.complete && !c.old.succeeding && c.now.succeeding, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

// finished checks that nothing is left to do of a job that has ended.
func finished(l *check.List, j, old *batchv1.Job, path *field.Path) {
	s, o := &j.Status, &old.Status
	if !state(s).finished() {
		return
	}
	begins := !state(o).finished()
	if s.Active > 0 && (begins || s.Active != o.Active) {
		l.Invalid(path.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	nothingToDo := check.Deref(j.Spec.Suspend, false) && j.Spec.Completions != nil && *j.Spec.Completions == 0
	if s.StartTime == nil && (begins || !sameTime(s.StartTime, o.StartTime)) && !nothingToDo {
		l.Required(path.Child("startTime"), "startTime is required for finished job")
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 && (begins || !apiequality.Semantic.DeepEqual(u, o.UncountedTerminatedPods)) {
		l.Invalid(path.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
	if n := s.Terminating; n != nil && *n > 0 && (begins || !equal(n, o.Terminating)) {
		l.Invalid(path.Child("terminating"), *n, "terminating>0 is invalid for finished job")
	}
}

func sameTime(a, b *metav1.Time) bool { return a.Equal(b) }

func jobTimes(l *check.List, j, old *batchv1.Job, path *field.Path) {
	s, o := &j.Status, &old.Status
	complete, was := state(s).complete, state(o).complete
	start, end := !sameTime(s.StartTime, o.StartTime), !sameTime(s.CompletionTime, o.CompletionTime)
	at := path.Child("completionTime")
	if complete != was || end {
		switch {
		case s.CompletionTime != nil && !complete:
			l.Invalid(at, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
		case s.CompletionTime == nil && complete:
			l.Required(at, "completionTime is required for Complete jobs")
		}
	}
	if (start || end) && s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		l.Invalid(at, s.CompletionTime, "must be equal to or after `startTime`")
	}
	if end && s.CompletionTime != nil && o.CompletionTime != nil {
		l.Invalid(at, s.CompletionTime, check.Immutable)
	}
	if start && o.StartTime != nil && !check.Deref(j.Spec.Suspend, false) && !resumes(s, o) {
		l.Invalid(path.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
}

// resumes tells whether the status notes that a suspended job goes on: its time
// begins again.
func resumes(s, old *batchv1.JobStatus) bool {
	return suspendedNow(old) && slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionFalse
	})
}

// statusIndexes checks the account of indexes where it has changed.
func statusIndexes(l *check.List, j, old *batchv1.Job, path *field.Path) {
	s, o := &j.Status, &old.Status
	total := check.Deref(j.Spec.Completions, 0)
	done, failed := s.CompletedIndexes, check.Deref(s.FailedIndexes, "")
	doneChanged, failedChanged := done != o.CompletedIndexes, !equal(s.FailedIndexes, o.FailedIndexes)
	if doneChanged && done != "" {
		if _, err := indexes(done, total); err != nil && j.Spec.Completions != nil {
			l.Invalid(path.Child("completedIndexes"), done, "error parsing completedIndexes: "+err.Error())
		}
		if !indexed(j) {
			l.Invalid(path.Child("completedIndexes"), done, "cannot set non-empty completedIndexes when non-indexed completion mode")
		}
	}
	at := path.Child("failedIndexes")
	if failedChanged && s.FailedIndexes != nil {
		if _, err := indexes(failed, total); err != nil && failed != "" && j.Spec.Completions != nil && j.Spec.BackoffLimitPerIndex != nil {
			l.Invalid(at, failed, "error parsing failedIndexes: "+err.Error())
		}
		if j.Spec.BackoffLimitPerIndex == nil {
			l.Invalid(at, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
		}
	}
	if (doneChanged || failedChanged) && done != "" && failed != "" && j.Spec.Completions != nil {
		if n, both := overlap(done, failed, total); both {
			l.Invalid(at, failed, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", n))
		}
	}
}
