package scheduler

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	rules := x.Rules()
	s.measured.refused(rules, profile.Name)
	s.measured.attempt("unschedulable", profile.Name, now)
	if len(ask.Extras) == 0 {
		s.queue.Park(w, s.engine.KeyOf(ask), engine.ChangesFor(rules), now)
	} else {
		s.queue.ParkApart(w, s.engine.KeyOf(ask), backlog.Helpful(rules), now)
	}
	message := x.Message()
	freed := s.giveBack(p, ask)
	message += freed
	if profile.NoPreemption || s.engine.Nodes() == 0 {
		s.say(w, message, x, s.nowhere(w))
		s.sayAlike(w, message, x, func(*backlog.Waiting) string { return "" })
		return
	}
	note, nominated := s.preempt(w, ask)
	if freed != "" {
		message += ","
	}
	s.say(w, message+" preemption: "+note, x, nominated)
	if polite(w.Pod) || s.awaitsRoom(w, ask) {
		s.queue.Follow(w) // the next may find more than this one
		return
	}
	s.sayAlike(w, message, x, func(other *backlog.Waiting) string {
		switch {
		case polite(other.Pod):
			return " preemption: " + notByPolicy
		case s.awaitsRoom(other, ask):
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

// polite reports whether a pod takes nobody's place.
func polite(pod *corev1.Pod) bool {
	p := pod.Spec.PreemptionPolicy
	return p != nil && *p == corev1.PreemptNever
}

// say tells a pod's user why it waits, when that is news. x is what nodes have
// against it, if they were asked. nominated is where it may go soon, "" that it
// is nowhere, nil that this has not changed.
func (s *Scheduler) say(w *backlog.Waiting, message string, x engine.Explanation, nominated *string) {
	if nominated != nil && told(w, *nominated) {
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
	first := w.Told == ""
	w.Told, w.ToldNode = message, cmp.Or(nominated, w.ToldNode)
	s.tell.tell(news{pod: w.Pod, reason: corev1.PodReasonUnschedulable, message: message, nominated: nominated, first: first})
}

// told reports whether a pod says already that it is nominated to a node. What was said
// last may not be seen yet.
func told(w *backlog.Waiting, node string) bool {
	return w.Pod.Status.NominatedNodeName == node && (w.ToldNode == nil || *w.ToldNode == node)
}

// nominate says where a pod may go soon, "" that it is nowhere.
func (s *Scheduler) nominate(w *backlog.Waiting, node string) {
	w.ToldNode = &node
	s.tell.tell(news{pod: w.Pod, nominated: &node})
}

// sayFailed says what kept a pod from the place that it had.
func (s *Scheduler) sayFailed(w *backlog.Waiting, message string) {
	w.Told, w.ToldNode = message, new(string)
	s.tell.tell(news{pod: w.Pod, reason: corev1.PodReasonSchedulerError, message: message, nominated: w.ToldNode})
	s.recorder.Eventf(w.Pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", message)
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
