package scheduler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/devices"
	"github.com/sinawi/sinawi/internal/scheduler/storage"
)

// newcomer is a pod that is about to be stored, and whoever stores it waits to learn
// its node.
type newcomer struct {
	pod    *corev1.Pod
	answer chan<- string // has room for one
}

// unstored is a newcomer that was not stored, or not on the node it was given.
type unstored struct{ pod *corev1.Pod }

// newcomerTimeout is how long storing a pod may wait for its node. The loop answers
// within a millisecond, but for when it reads much or weighs whom to evict.
const newcomerTimeout = 50 * time.Millisecond

// Place returns the node for a pod that is about to be stored, or "" when it has to
// wait its turn or has to be bound. With a node comes what has to be told how it
// went: the pod as it was stored, or nil. The pod that is asked about is the
// scheduler's from now on.
func (s *Scheduler) Place(ctx context.Context, pod *corev1.Pod) (string, func(*corev1.Pod)) {
	if !s.placing.Load() || !simple(pod) {
		return "", nil
	}
	answer := make(chan string, 1)
	s.mail.Put(mailbox.Change{Object: newcomer{pod, answer}})
	patience := time.NewTimer(newcomerTimeout)
	defer patience.Stop()
	select {
	case node := <-answer:
		if node == "" {
			return "", nil
		}
		return node, func(stored *corev1.Pod) {
			if stored == nil {
				s.mail.Put(mailbox.Change{Object: unstored{pod}})
				return
			}
			s.announce.tell(stored, node, time.Now())
		}
	case <-patience.C:
	case <-ctx.Done():
	}
	// The answer may come yet.
	s.mail.Put(mailbox.Change{Object: unstored{pod}})
	return "", nil
}

// simple reports whether nothing has to be written or waited for before a pod may run.
func simple(pod *corev1.Pod) bool {
	return len(pod.Spec.SchedulingGates) == 0 && len(storage.Claims(pod)) == 0 && !devices.Asks(pod)
}

// welcome answers those who wait to store a pod. Units have been tried by then that
// came before it.
func (s *Scheduler) welcome(ctx context.Context) {
	for _, n := range s.newcomers {
		n.answer <- s.placeNewcomer(ctx, n.pod)
	}
	clear(s.newcomers)
	s.newcomers = s.newcomers[:0]
}

// placeNewcomer returns the node for a pod, on which it counts from now on, or "". What
// then becomes of it is as if it had been stored without one.
func (s *Scheduler) placeNewcomer(ctx context.Context, pod *corev1.Pod) string {
	profile := s.profileOf(pod)
	if profile == nil || s.batch.Has(pod) {
		return ""
	}
	if first := s.queue.First(); first != nil && corev1helper.PodPriority(first.Pod) >= corev1helper.PodPriority(pod) {
		return ""
	}
	began := time.Now()
	ask, plans, problem := s.ask(ctx, pod, profile)
	if problem != "" {
		return ""
	}
	choice, ok := s.engine.Choose(ask)
	if !ok {
		return ""
	}
	if work, err := plans.decide(s.engine.Node(choice.Node)); err != nil || !work.empty() {
		return ""
	}
	s.engine.SetPod(pod, choice.Node)
	s.storage.SetPod(pod)
	s.unseen.add(pod, began)
	s.measured.algorithm(began)
	s.measured.attempt("scheduled", profile.Name, began)
	s.measured.bound(1, time.Since(began))
	s.notePlaced(pod, choice, began)
	return choice.Node
}

// readUnstored reports whether a place became free again.
func (s *Scheduler) readUnstored(pod *corev1.Pod) bool {
	s.newcomers = slices.DeleteFunc(s.newcomers, func(n newcomer) bool { return n.pod == pod })
	return s.unseen.remove(pod.UID) && s.takeOff(pod.UID)
}

// forgetUnseen takes newcomers back that have not been seen for long: they were deleted
// before anybody saw them. It returns how long the next one has, or 0.
func (s *Scheduler) forgetUnseen(now time.Time) time.Duration {
	for {
		uid, left := s.unseen.oldest(now)
		if uid == "" || left > 0 {
			return left
		}
		s.unseen.remove(uid)
		s.takeOff(uid)
	}
}

// unseenTimeout is how long the store's changes may lag behind.
const unseenTimeout = time.Minute

// unseen are newcomers that have a node and were not seen in the store yet.
type unseen struct {
	since map[types.UID]time.Time
	order []types.UID // oldest first; with some that were seen by now
}

func newUnseen() *unseen { return &unseen{since: map[types.UID]time.Time{}} }

func (u *unseen) add(pod *corev1.Pod, now time.Time) {
	u.since[pod.UID] = now
	u.order = append(u.order, pod.UID)
}

// remove reports whether a pod was among them.
func (u *unseen) remove(uid types.UID) bool {
	_, was := u.since[uid]
	delete(u.since, uid)
	return was
}

// oldest returns who has not been seen for the longest time, and how long it has left;
// "" and 0 when there is none.
func (u *unseen) oldest(now time.Time) (types.UID, time.Duration) {
	for len(u.order) > 0 {
		if at, is := u.since[u.order[0]]; is {
			return u.order[0], max(0, at.Add(unseenTimeout).Sub(now))
		}
		u.order = u.order[1:]
	}
	return "", 0
}
