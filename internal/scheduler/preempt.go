package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// preempt evicts the least that makes room for a pod, if anything can. It returns
// why not, and where the pod waits for its room.
func (s *Scheduler) preempt(w *backlog.Waiting, ask engine.Ask) (string, *string) {
	if polite(w.Pod) {
		return notByPolicy, nil
	}
	if s.awaitsRoom(w, ask) {
		return notEligible, nil
	}
	s.forsake(w)
	s.measured.preemptions.Inc()
	found, why := s.engine.Preempt(ask, s.budgets.list())
	if found == nil {
		nowhere := s.nowhere(w)
		if why.MayPreempt() {
			s.queue.Hope(w)
		}
		return why.Message(), nowhere
	}
	s.measured.victims.Observe(float64(len(found.Victims)))
	for _, lesser := range s.engine.NominatedTo(found.Node, corev1helper.PodPriority(w.Pod)) {
		s.engine.RemoveNomination(lesser.UID)
		if other := s.queue.Of(lesser.UID); other != nil {
			other.Nominated = ""
			s.nominate(other, "")
			s.queue.Again(other) // it may find room elsewhere
		}
	}
	if w.Nominated != found.Node {
		s.leaveRoom(w)
	}
	w.Nominated = found.Node
	s.engine.Nominate(w.Pod, found.Node)
	for _, victim := range s.batch.Whole(found.Victims, corev1helper.PodPriority(w.Pod)) {
		s.evict(w, victim, found.Node, w.Pod.Spec.SchedulerName+": preempting to accommodate a higher priority pod")
	}
	return fmt.Sprintf("found a potential placement for pod on node %v, preempting %d victims", found.Node, len(found.Victims)), &found.Node
}

// Why a pod that made room does not look for more, and why one looks for none.
const (
	notEligible = "not eligible due to a terminating pod on the nominated node."
	notByPolicy = "not eligible due to preemptionPolicy=Never."
)

// roomIsFree is a letter that says that a pod has no use for its room any more.
type roomIsFree struct{}

// nowhere ends that a pod waits for room, and returns where it may go soon then.
func (s *Scheduler) nowhere(w *backlog.Waiting) *string {
	s.forsake(w)
	w.Nominated = ""
	s.leaveRoom(w)
	return new(string)
}

// leaveRoom gives up the room that a pod waits for, for others to have it.
func (s *Scheduler) leaveRoom(w *backlog.Waiting) {
	if s.engine.RemoveNomination(w.Pod.UID) {
		s.mail.Put(mailbox.Change{Object: roomIsFree{}})
	}
}

// victimsLeave reports whether a pod waits for pods to end that were evicted for
// it, by this scheduler before it was restarted too.
func (s *Scheduler) victimsLeave(pod *corev1.Pod) bool {
	node := pod.Status.NominatedNodeName
	if node == "" {
		return false
	}
	return slices.ContainsFunc(s.engine.PodsOn(node), func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && corev1helper.PodPriority(p) < corev1helper.PodPriority(pod) &&
			slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
			})
	})
}

// evicted is what became of an eviction.
type evicted struct {
	victim types.UID
	err    error
}

func (s *Scheduler) evict(w *backlog.Waiting, victim *corev1.Pod, node, why string) {
	if s.evicting[victim.UID] != nil {
		return
	}
	s.evicting[victim.UID] = w
	if w.Evicting == 0 {
		w.Leaving = 0
	}
	w.Evicting++
	by := w.Pod
	s.errands.give(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		err := s.evictNow(ctx, by, victim, node, why)
		s.mail.Put(mailbox.Change{Object: evicted{victim.UID, err}})
	})
}

func (s *Scheduler) evictNow(ctx context.Context, by, victim *corev1.Pod, node, why string) error {
	condition := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            why,
		ObservedGeneration: victim.Generation, LastTransitionTime: metav1.Now(),
	}
	if setCondition(victim.Status, &condition) {
		if err := patchStatus(ctx, s.client, victim, map[string]any{"conditions": []corev1.PodCondition{condition}}); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	err := s.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name}},
		client.Preconditions{UID: &victim.UID})
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	s.noteLost(victim, fmt.Sprintf("evicted from node %s: %s", node, why))
	slog.Info("pod preempted", "pod", client.ObjectKeyFromObject(victim), "by", client.ObjectKeyFromObject(by), "node", node)
	s.recorder.Eventf(victim, by, corev1.EventTypeNormal, "Preempted", "Preempting", "Preempted by pod %v on node %v", by.UID, node)
	return nil
}

// readEvicted reports whether the pod that wanted the room must try again.
func (s *Scheduler) readEvicted(r evicted) bool {
	if r.err == nil || apierrors.IsConflict(r.err) {
		s.tellEvicted(r.victim)
		return false // the watch says when it is gone
	}
	slog.Warn("pod could not be preempted", "uid", r.victim, "err", r.err)
	return s.evictionOver(r.victim)
}

// tellEvicted says of a pod, once all its victims were told to go, that it waits
// for them.
func (s *Scheduler) tellEvicted(victim types.UID) {
	w := s.evicting[victim]
	if w == nil {
		return
	}
	w.Leaving++
	if w.Leaving < w.Evicting || s.queue.Of(w.Pod.UID) != w {
		return
	}
	if message, _, made := strings.Cut(w.Told, " preemption: found "); made {
		s.say(w, message+" preemption: "+notEligible, engine.Explanation{}, nil)
	}
}

// evictionOver notes that a victim is gone, or stays.
func (s *Scheduler) evictionOver(victim types.UID) bool {
	w := s.evicting[victim]
	if w == nil {
		return false
	}
	delete(s.evicting, victim)
	w.Evicting--
	if w.Evicting == 0 {
		// It is the pod's turn, also where others took the room or have the first try.
		s.queue.Again(w)
	}
	return true
}

// awaitsRoom reports whether a pod waits for others to end that it took the place of.
// It does not when their going is of no use to it any more. ask is the pod's own or that
// of one of its class.
func (s *Scheduler) awaitsRoom(w *backlog.Waiting, ask engine.Ask) bool {
	ask.Pod = w.Pod
	return s.madeRoom(w) && !s.engine.Hopeless(ask, roomOf(w))
}

// madeRoom reports whether pods are about to end that a pod took the place of.
func (s *Scheduler) madeRoom(w *backlog.Waiting) bool {
	return w.Evicting > 0 || s.victimsLeave(w.Pod)
}

// roomOf is the node where a pod waits for room, or "".
func roomOf(w *backlog.Waiting) string { return cmp.Or(w.Nominated, w.Pod.Status.NominatedNodeName) }

// seekAnew lets pods try again that wait for room on a node, for it may be of no use to
// them any more: their victims may take long to end.
func (s *Scheduler) seekAnew(node string) {
	for _, pod := range s.engine.NominatedTo(node, math.MaxInt32) {
		if w := s.queue.Of(pod.UID); w != nil {
			s.queue.Again(w)
		}
	}
}

// forsake ends that a pod waits for its victims.
func (s *Scheduler) forsake(w *backlog.Waiting) {
	maps.DeleteFunc(s.evicting, func(_ types.UID, by *backlog.Waiting) bool { return by == w })
	w.Evicting, w.Leaving = 0, 0
}
