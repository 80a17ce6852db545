package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// unschedulable parks a pod that has a problem on every node.
func (s *Scheduler) unschedulable(w *backlog.Waiting, ask engine.Ask, problem string, p plans, now time.Time) {
	nodes := s.engine.Nodes()
	message := fmt.Sprintf("0/%d nodes are available: %s. preemption: 0/%d nodes are available: %d Preemption is not helpful for scheduling.", nodes, problem, nodes, nodes)
	helps := backlog.CauseNode | backlog.CauseStorage
	if p.failed != engine.RuleDevices && !ask.Profile.Off[engine.RuleDevices] {
		// What kube-scheduler says when its plugin for devices, which comes before
		// preemption, did not get to see the pod.
		message = fmt.Sprintf("0/%d nodes are available: %s. not found", nodes, problem)
	}
	if p.failed == engine.RuleDevices {
		helps = backlog.CauseNode | backlog.CauseDevices
	}
	s.measured.refused([]engine.Rule{p.failed}, ask.Profile.Name)
	s.measured.attempt("unschedulable", ask.Profile.Name, now)
	s.queue.ParkApart(w, s.engine.KeyOf(ask), helps, now)
	if p.missing {
		s.noteWaits(w.Pod, message, engine.Explanation{}, nil)
		return
	}
	s.say(w, message, engine.Explanation{}, nil)
}

// unfit parks a pod that no node can take, after it has tried to make room.
func (s *Scheduler) unfit(w *backlog.Waiting, ask engine.Ask, profile *config.Profile, p plans, now time.Time) {
	x := s.engine.Explain(ask)
	s.measured.refused(x.Rules(), profile.Name)
	s.measured.attempt("unschedulable", profile.Name, now)
	if len(ask.Extras) == 0 {
		s.queue.Park(w, s.engine.KeyOf(ask), engine.ChangesFor(x.Rules()), now)
	} else {
		s.queue.ParkApart(w, s.engine.KeyOf(ask), backlog.Helpful(x.Rules()), now)
	}
	message := x.Message()
	freed := s.giveBack(p, x)
	message += freed
	if profile.NoPreemption || s.engine.Nodes() == 0 {
		s.say(w, message, x, nil)
		s.sayAlike(w, message, x, func(*backlog.Waiting) string { return "" })
		return
	}
	note, nominated := s.preempt(w, ask)
	if freed != "" {
		message += ","
	}
	s.say(w, message+" preemption: "+note, x, nominated)
	if polite(w.Pod) || s.awaitsRoom(w) {
		s.queue.Follow(w) // the next may find more than this one
		return
	}
	s.sayAlike(w, message, x, func(other *backlog.Waiting) string {
		switch {
		case polite(other.Pod):
			return " preemption: " + notByPolicy
		case s.awaitsRoom(other):
			return " preemption: " + notEligible
		}
		return " preemption: " + note
	})
}

// sayAlike tells the pods that wait with one, which tried for all of them, why they
// do: they are of one class, so nodes say the same to them.
func (s *Scheduler) sayAlike(w *backlog.Waiting, message string, x engine.Explanation, note func(*backlog.Waiting) string) {
	for _, other := range s.queue.Settle(w) {
		if other != w {
			s.say(other, message+note(other), x, nil)
		}
	}
}

// awaitsRoom reports whether a pod waits for others to end that it took the place of.
func (s *Scheduler) awaitsRoom(w *backlog.Waiting) bool {
	return w.Evicting > 0 || s.victimsLeave(w.Pod)
}

// polite reports whether a pod takes nobody's place.
func polite(pod *corev1.Pod) bool {
	p := pod.Spec.PreemptionPolicy
	return p != nil && *p == corev1.PreemptNever
}

// say tells a pod's user why it waits, when that is news. x is what nodes have
// against it, if they were asked. nominated is where it may go soon, "" that it
// is nowhere, nil that this has not changed.
func (s *Scheduler) say(w *backlog.Waiting, message string, x engine.Explanation, nominated *string) {
	if nominated != nil && *nominated == w.Pod.Status.NominatedNodeName {
		nominated = nil
	}
	if w.Told == message && nominated == nil {
		return
	}
	s.noteWaits(w.Pod, message, x, nominated)
	if w.Told != message {
		slog.Debug("pod does not fit", "pod", client.ObjectKeyFromObject(w.Pod), "why", message)
		s.recorder.Eventf(w.Pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", message)
	}
	w.Told = message
	s.tell.unschedulable(w.Pod, message, nominated)
}

// preempt evicts the least that makes room for a pod, if anything can. It returns
// why not, and where the pod waits for its room.
func (s *Scheduler) preempt(w *backlog.Waiting, ask engine.Ask) (string, *string) {
	if polite(w.Pod) {
		return notByPolicy, nil
	}
	if s.awaitsRoom(w) {
		return notEligible, nil
	}
	s.measured.preemptions.Inc()
	found, why := s.engine.Preempt(ask, s.budgets.list())
	nowhere := ""
	if found == nil {
		w.Nominated = ""
		s.engine.RemoveNomination(w.Pod.UID)
		return why.Message(), &nowhere
	}
	s.measured.victims.Observe(float64(len(found.Victims)))
	for _, lesser := range s.engine.NominatedTo(found.Node, corev1helper.PodPriority(w.Pod)) {
		s.engine.RemoveNomination(lesser.UID)
		if other := s.queue.Of(lesser.UID); other != nil {
			other.Nominated = ""
			s.tell.unschedulable(other.Pod, other.Told, &nowhere)
		}
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
	marked := victim.DeepCopy()
	setCondition(&marked.Status, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            why,
		ObservedGeneration: victim.Generation, LastTransitionTime: metav1.Now(),
	})
	if err := s.client.Status().Patch(ctx, marked, client.StrategicMergeFrom(victim)); err != nil {
		return client.IgnoreNotFound(err)
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
	return true
}

// budgets are the disruption budgets of all namespaces.
type budgets map[types.UID]engine.Budget

func (b budgets) set(pdb *policyv1.PodDisruptionBudget, deleted bool) {
	selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if deleted || err != nil {
		delete(b, pdb.UID)
		return
	}
	b[pdb.UID] = engine.Budget{
		Namespace: pdb.Namespace, Selector: selector,
		Allowed: pdb.Status.DisruptionsAllowed, Disrupted: pdb.Status.DisruptedPods,
	}
}

func (b budgets) list() []engine.Budget {
	out := make([]engine.Budget, 0, len(b))
	for _, x := range b {
		out = append(out, x)
	}
	return out
}
