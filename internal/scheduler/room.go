package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/gang"
)

// maxReprieves bounds how many victims are asked whether they can stay.
const maxReprieves = 64

// away is a pod that is taken off its node while room is weighed.
type away struct {
	pod  *corev1.Pod
	node string
}

func (s *Scheduler) takeAway(pods []*corev1.Pod) (out []away) {
	for _, p := range pods {
		if node := s.engine.NodeOf(p.UID); node != "" {
			out = append(out, away{p, node})
			s.engine.RemovePod(p.UID)
			s.storage.RemovePod(p.UID)
			s.settle(p.UID)
		}
	}
	return out
}

func (s *Scheduler) bringBack(all []away) {
	for _, a := range all {
		s.engine.SetPod(a.pod, a.node)
		s.storage.SetPod(a.pod)
		s.settle(a.pod.UID)
	}
}

func (s *Scheduler) mayRetake(u *unit) bool {
	p, ok := s.batch.policy[u.queue]
	return ok && p != batchv1.ReclaimNever
}

// makeRoom evicts the least that lets a whole unit fit: pods of queues that use
// more than their quota, or else pods of lower priority. It returns why not.
func (s *Scheduler) makeRoom(u *unit, t *trial, v fair.Verdict) string {
	by := t.pods[0]
	for _, w := range t.pods {
		if w.evicting > 0 || s.victimsLeave(w.pod) {
			return "not eligible due to terminating pods that make room."
		}
	}
	for _, w := range t.pods {
		w.nominated = ""
		s.engine.RemoveNomination(w.pod.UID)
	}
	s.batch.book.Reserve(u.queue, u.key, nil)
	if v.Standing != fair.Within && v.Standing != fair.Lent {
		return "" // who borrows takes nothing from others
	}
	s.measured.preemptions.Inc()
	if u.queue != "" && s.mayRetake(u) {
		if victims, nodes := s.retake(u, t); victims != nil {
			s.evictFor(u, t, victims, nodes, fmt.Sprintf("%s: taking back the quota of queue %s", by.pod.Spec.SchedulerName, u.queue))
			return ""
		}
	}
	if v.Standing == fair.Lent || s.profileOf(by.pod).NoPreemption || by.pod.Spec.PreemptionPolicy != nil && *by.pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return ""
	}
	victims, nodes := s.preemptForAll(u, t)
	if victims == nil {
		return fmt.Sprintf("evicting pods of lower priority would not make room for all %d.", t.need)
	}
	s.evictFor(u, t, victims, nodes, by.pod.Spec.SchedulerName+": preempting to accommodate a higher priority pod")
	return ""
}

// fits tries the pods that a unit needs at once and takes them back. It returns
// where they would go, or nil.
func (s *Scheduler) fits(u *unit, t *trial, before func(int, engine.Ask) bool) map[types.UID]string {
	again := s.newTrial(t.ctx, u, t.pods[:min(t.need, len(t.pods))], t.need)
	again.before = before
	placed, _ := gang.Place(again, len(again.pods), t.need)
	if placed == nil {
		return nil
	}
	out := map[types.UID]string{}
	for _, i := range placed {
		uid := again.pods[i].pod.UID
		out[uid] = s.engine.NodeOf(uid)
	}
	for _, i := range slices.Backward(placed) {
		again.Take(i)
	}
	return out
}

// retake chooses what a queue takes back for a unit to fit.
func (s *Scheduler) retake(u *unit, t *trial) ([]*corev1.Pod, map[types.UID]string) {
	// What leaves already need not be taken back once more.
	leaving := s.takeAway(s.leaving())
	defer s.bringBack(leaving)
	holdings, pods := s.holdings()
	may := func(fair.Holding) bool { return true }
	if s.batch.policy[u.queue] == batchv1.ReclaimLowerPriority {
		may = fair.Below(u.priority())
	}
	ask := s.request(u)
	without := func(gone []int) map[types.UID]string {
		var all []away
		for _, h := range gone {
			all = append(all, s.takeAway(pods[h])...)
		}
		defer s.bringBack(all)
		if s.batch.book.Ask(u.queue, u.key, ask).Standing != fair.Within {
			return nil
		}
		return s.fits(u, t, nil)
	}
	if nodes := without(nil); nodes != nil {
		return []*corev1.Pod{}, nodes
	}
	order, need := s.batch.book.Reclaim(u.queue, u.key, ask, holdings, may)
	if need < 0 || len(order) == 0 {
		return nil, nil
	}
	k := gang.Fewest(max(need, 1), len(order), func(k int) bool { return without(order[:k]) != nil })
	if k < 0 {
		return nil, nil
	}
	gone := slices.Clone(order[:k])
	for i := 0; i < len(gone) && len(gone) > 1 && k <= maxReprieves; {
		if fewer := slices.Delete(slices.Clone(gone), i, i+1); without(fewer) != nil {
			gone = fewer
		} else {
			i++
		}
	}
	nodes := without(gone)
	var victims []*corev1.Pod
	for _, h := range gone {
		victims = append(victims, pods[h]...)
	}
	return victims, nodes
}

// leaving are the pods of queues that are being deleted.
func (s *Scheduler) leaving() (out []*corev1.Pod) {
	for _, m := range s.batch.members {
		if m.placed && m.unit.queue != "" && m.pod.DeletionTimestamp != nil {
			out = append(out, m.pod)
		}
	}
	return out
}

// holdings are what the queues use, each gang as a whole.
func (s *Scheduler) holdings() ([]fair.Holding, [][]*corev1.Pod) {
	units := slices.SortedFunc(maps.Values(s.batch.units), func(a, b *unit) int { return int(int64(a.sequence) - int64(b.sequence)) })
	budgets := s.budgets.list()
	var out []fair.Holding
	var pods [][]*corev1.Pod
	for _, u := range units {
		if u.queue == "" || u.placed == 0 {
			continue
		}
		h := fair.Holding{Queue: u.queue, Amounts: fair.Amounts{}, Priority: u.priority(), Sequence: u.sequence}
		var its []*corev1.Pod
		for _, m := range u.members {
			if m.placed && m.pod.DeletionTimestamp == nil {
				h.Amounts.Add(m.amounts, 1)
				its = append(its, m.pod)
				h.Protected = h.Protected || engine.Protected(m.pod, budgets)
			}
		}
		if len(its) > 0 {
			out, pods = append(out, h), append(pods, its)
		}
	}
	return out, pods
}

// preemptForAll chooses pods of lower priority whose going lets a unit fit.
func (s *Scheduler) preemptForAll(u *unit, t *trial) ([]*corev1.Pod, map[types.UID]string) {
	var victims []*corev1.Pod
	var all []away
	budgets := s.budgets.list()
	nodes := s.fits(u, t, func(_ int, ask engine.Ask) bool {
		found, _ := s.engine.Preempt(ask, budgets)
		if found == nil {
			return false
		}
		its := s.whole(found.Victims, corev1helper.PodPriority(ask.Pod))
		if its == nil {
			return false
		}
		engine.Spend(budgets, its)
		victims = append(victims, its...)
		all = append(all, s.takeAway(its)...)
		return true
	})
	s.bringBack(all)
	if nodes == nil {
		return nil, nil
	}
	return victims, nodes
}

// whole adds to victims the others of groups that are disrupted as one; nil when
// one of these matters too much.
func (s *Scheduler) whole(victims []*corev1.Pod, priority int32) []*corev1.Pod {
	out := slices.Clone(victims)
	seen := map[types.UID]bool{}
	for _, v := range victims {
		seen[v.UID] = true
	}
	for _, v := range victims {
		m := s.batch.members[v.UID]
		if m == nil {
			continue
		}
		g := s.batch.groups[m.unit.key.group]
		if g == nil || g.Spec.DisruptionMode == nil || g.Spec.DisruptionMode.All == nil {
			continue
		}
		for _, other := range m.unit.members {
			switch {
			case !other.placed || seen[other.pod.UID]:
			case corev1helper.PodPriority(other.pod) >= priority:
				return nil
			default:
				seen[other.pod.UID] = true
				out = append(out, other.pod)
			}
		}
	}
	return out
}

// evictFor evicts what makes room for a unit, and keeps that room for it.
func (s *Scheduler) evictFor(u *unit, t *trial, victims []*corev1.Pod, nodes map[types.UID]string, message string) {
	s.measured.victims.Observe(float64(len(victims)))
	if u.queue != "" {
		s.batch.book.Reserve(u.queue, u.key, s.request(u))
	}
	u.failures, u.until = 0, time.Time{}
	var by *waiting
	for _, w := range t.pods {
		if node := nodes[w.pod.UID]; node != "" {
			w.nominated = node
			s.engine.Nominate(w.pod, node)
			s.tell.unschedulable(w.pod, w.told, &node)
			by = w
		}
	}
	for _, v := range victims {
		s.evict(by, v, s.engine.NodeOf(v.UID), message)
	}
}
