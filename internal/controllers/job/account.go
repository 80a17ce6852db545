package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxUncounted bounds how many pods a status names.
const maxUncounted = 500

// account carries ended pods through the steps of counting.
func (y *state) account() {
	y.countReleased()
	latest := y.latestFailures()
	end := ending(y.status)
	failing := end != nil && end.Type == batchv1.JobFailureTarget
	var succeeded []int
	for _, pod := range y.pods {
		if !tracked(pod) {
			continue
		}
		index := indexOf(pod)
		noted := true
		switch {
		case y.ended[pod.UID]: // since an earlier time
			if failed(y.job, pod) {
				y.accountIndex(pod, index)
			}
		case pod.Status.Phase == corev1.PodSucceeded && indexed(y.job):
			if index != noIndex && index < y.limit {
				succeeded = append(succeeded, index)
			}
		case pod.Status.Phase == corev1.PodSucceeded:
			noted = y.name(pod, false)
		case failed(y.job, pod), failing && pod.DeletionTimestamp != nil:
			noted = !y.counts(pod, index) || y.name(pod, true)
			y.accountIndex(pod, index)
		default:
			continue
		}
		if noted && latest[index] != pod {
			y.release = append(y.release, pod)
		}
	}
	if indexed(y.job) {
		y.completed = y.completed.with(succeeded...)
		y.status.CompletedIndexes = y.completed.String()
		y.status.Succeeded = y.completed.total()
		y.keepLatestFailures(latest)
	}
	if y.job.Spec.BackoffLimitPerIndex != nil {
		text := y.failedIndexes.String()
		y.status.FailedIndexes = &text
	}
}

// countReleased turns names into numbers where the pod lost its finalizer.
func (y *state) countReleased() {
	held := map[types.UID]bool{}
	for _, pod := range y.pods {
		if tracked(pod) {
			held[pod.UID] = true
		}
	}
	u := y.uncounted()
	keep := func(uids []types.UID) (kept []types.UID, counted int32) {
		for _, uid := range uids {
			if held[uid] {
				kept = append(kept, uid)
				y.ended[uid] = true
			} else {
				counted++
			}
		}
		return kept, counted
	}
	var ok, bad int32
	u.Succeeded, ok = keep(u.Succeeded)
	u.Failed, bad = keep(u.Failed)
	y.status.Succeeded += ok
	y.status.Failed += bad
	y.status.UncountedTerminatedPods = &u
}

// name writes an ended pod into the status, unless that is full for now.
func (y *state) name(pod *corev1.Pod, failure bool) bool {
	u := y.status.UncountedTerminatedPods
	if len(u.Succeeded)+len(u.Failed) >= maxUncounted {
		return false
	}
	y.ended[pod.UID] = true
	if failure {
		u.Failed = append(u.Failed, pod.UID)
	} else {
		u.Succeeded = append(u.Succeeded, pod.UID)
	}
	return true
}

// counts says whether a failed pod adds to the number of failures.
func (y *state) counts(pod *corev1.Pod, index int) bool {
	if indexed(y.job) && (index == noIndex || index >= y.limit) {
		return false // a pod that no index needs
	}
	return judge(y.job, pod).counted
}

// accountIndex notes an index that has failed as often as it may. Those whose pods are
// stopped because the Job ends did not.
func (y *state) accountIndex(pod *corev1.Pod, index int) {
	limit := y.job.Spec.BackoffLimitPerIndex
	if limit == nil || ending(y.status) != nil || !indexed(y.job) || index == noIndex || index >= y.limit || y.completed.has(index) {
		return
	}
	v := judge(y.job, pod)
	spent := v.counted && annotated(pod, batchv1.JobIndexFailureCountAnnotation) >= int(*limit)
	if spent || v.action == batchv1.PodFailurePolicyActionFailIndex {
		y.failedIndexes = y.failedIndexes.with(index)
	}
}

// latestFailures finds per index the failed pod that remembers how often the
// index failed, if the Job limits that. It keeps its finalizer until another pod
// of the index carries the number on.
func (y *state) latestFailures() map[int]*corev1.Pod {
	latest := map[int]*corev1.Pod{}
	if y.job.Spec.BackoffLimitPerIndex == nil || ending(y.status) != nil {
		return latest
	}
	for _, pod := range y.pods {
		index := indexOf(pod)
		if !tracked(pod) || index == noIndex || index >= y.limit {
			continue
		}
		if have := latest[index]; have == nil || tries(pod) > tries(have) {
			latest[index] = pod
		}
	}
	for index, pod := range latest {
		if !failed(y.job, pod) {
			delete(latest, index)
		}
	}
	return latest
}

// keepLatestFailures lets those go whose index has come to an end.
func (y *state) keepLatestFailures(latest map[int]*corev1.Pod) {
	for index, pod := range latest {
		if y.completed.has(index) || y.failedIndexes.has(index) {
			y.release = append(y.release, pod)
		}
	}
	slices.SortFunc(y.release, func(a, b *corev1.Pod) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

func tries(pod *corev1.Pod) int {
	return annotated(pod, batchv1.JobIndexFailureCountAnnotation) + annotated(pod, batchv1.JobIndexIgnoredFailureCountAnnotation)
}
