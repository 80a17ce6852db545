package job

import (
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// enough failures in a row are worth remembering: more do not wait longer.
const enough = 8

// streak is what a Job's pods came to: when one succeeded last, and which failed since.
// It outlives the pods, so that whoever deletes one that failed, or one that runs, does
// not take the wait for the next away.
type streak struct {
	success  time.Time
	failures []failure // oldest first
}

// failure is one pod that failed.
type failure struct {
	uid types.UID
	at  time.Time
}

// with is the streak that goes on with these pods. Those without their finalizer were
// taken in before, or never counted: the Job had too many, or was suspended.
func (s streak) with(job *batchv1.Job, pods []*corev1.Pod) streak {
	next := streak{success: s.success, failures: slices.Clone(s.failures)}
	for _, pod := range pods {
		switch {
		case !tracked(pod):
		case pod.Status.Phase == corev1.PodSucceeded:
			if t := finishTime(pod); t.After(next.success) {
				next.success = t
			}
		case failed(job, pod):
			f := failure{pod.UID, finishTime(pod)}
			at := slices.IndexFunc(next.failures, func(known failure) bool { return known.uid == f.uid })
			if at < 0 {
				next.failures = append(next.failures, f)
			} else {
				next.failures[at] = f
			}
		}
	}
	next.failures = slices.DeleteFunc(next.failures, func(f failure) bool { return !f.at.After(next.success) })
	slices.SortFunc(next.failures, func(a, b failure) int { return a.at.Compare(b.at) })
	next.failures = next.failures[max(len(next.failures)-enough, 0):]
	return next
}

// wait is how long the next pod has to wait: failures in a row double it.
func (s streak) wait(now time.Time) time.Duration {
	if len(s.failures) == 0 {
		return 0
	}
	return s.failures[len(s.failures)-1].at.Add(backoff(len(s.failures))).Sub(now)
}

// streaks remembers those of all Jobs that run. It is safe for concurrent use.
type streaks struct {
	mu sync.Mutex
	of map[types.UID]streak // guarded by mu
}

func newStreaks() *streaks { return &streaks{of: map[types.UID]streak{}} }

func (s *streaks) get(job types.UID) streak {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[job]
}

// keep remembers a streak, if there is anything to remember.
func (s *streaks) keep(job types.UID, is streak) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(is.failures) == 0 && is.success.IsZero() {
		delete(s.of, job)
		return
	}
	s.of[job] = is
}

func (s *streaks) forget(job types.UID) { s.keep(job, streak{}) }
