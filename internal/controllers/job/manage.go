package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// manage plans which pods to make and which to stop.
func (y *state) manage() {
	if y.target != nil || y.suspended() {
		y.remove = y.active
		y.forget = y.target == nil || y.target.Type == batchv1.JobSuccessCriteriaMet
		return
	}
	want := y.wanted()
	y.remove = y.surplus(max(len(y.active)-want, 0))
	if len(y.remove) > 0 {
		y.remove = y.remove[:min(len(y.remove), burst)]
		y.forget = true
		return
	}
	missing := want - len(y.active)
	if replaceFailedOnly(y.job) {
		missing -= int(y.terminating)
	}
	missing = min(missing, burst)
	if missing <= 0 {
		return
	}
	if y.job.Spec.BackoffLimitPerIndex == nil {
		if wait := y.streak.wait(y.now); wait > 0 {
			y.wake(wait)
			return
		}
	}
	if !indexed(y.job) {
		for range missing {
			y.create = append(y.create, creation{index: noIndex})
		}
		return
	}
	y.createIndexes(missing)
}

// wanted is how many pods should be active.
func (y *state) wanted() int {
	parallelism := 1
	if y.job.Spec.Parallelism != nil {
		parallelism = int(*y.job.Spec.Parallelism)
	}
	if y.job.Spec.Completions == nil {
		if y.succeeded() > 0 {
			return len(y.active) // one success: the others may end, none begins
		}
		return parallelism
	}
	left := int(*y.job.Spec.Completions - y.succeeded() - y.failedIndexes.total())
	return max(min(left, parallelism), 0)
}

// surplus picks pods to stop: those that no index needs, then as many more as to
// make the given number, those that are missed least first.
func (y *state) surplus(atLeast int) []*corev1.Pod {
	ranked := slices.Clone(y.active)
	workload.SortForDeletion(ranked, nil, y.now)
	var useless, useful []*corev1.Pod
	if indexed(y.job) {
		seen := map[int]bool{}
		for _, pod := range slices.Backward(ranked) {
			index := indexOf(pod)
			if index == noIndex || index >= y.limit || seen[index] || y.completed.has(index) || y.failedIndexes.has(index) {
				useless = append(useless, pod)
				continue
			}
			seen[index] = true
			useful = append(useful, pod)
		}
		slices.Reverse(useful)
	} else {
		useful = ranked
	}
	more := max(atLeast-len(useless), 0)
	return append(useless, useful[:min(more, len(useful))]...)
}

// createIndexes plans pods for the first indexes that have none.
func (y *state) createIndexes(n int) {
	busy := map[int]bool{}
	lastFailed := map[int]*corev1.Pod{}
	for _, pod := range y.pods {
		index := indexOf(pod)
		switch {
		case workload.Active(pod), replaceFailedOnly(y.job) && !workload.Finished(pod):
			busy[index] = true
		case failed(y.job, pod) && (lastFailed[index] == nil || tries(pod) > tries(lastFailed[index])):
			lastFailed[index] = pod
		}
	}
	for index := 0; index < y.limit && n > 0; index++ {
		if busy[index] || y.completed.has(index) || y.failedIndexes.has(index) {
			continue
		}
		c := creation{index: index}
		if before := lastFailed[index]; before != nil && y.job.Spec.BackoffLimitPerIndex != nil {
			c.failures = annotated(before, batchv1.JobIndexFailureCountAnnotation)
			c.ignoredFailures = annotated(before, batchv1.JobIndexIgnoredFailureCountAnnotation)
			if judge(y.job, before).counted {
				c.failures++
			} else {
				c.ignoredFailures++
			}
			wait := finishTime(before).Add(backoff(c.failures + c.ignoredFailures)).Sub(y.now)
			if wait > 0 {
				y.wake(wait)
				continue
			}
		}
		y.create = append(y.create, c)
		n--
	}
}
