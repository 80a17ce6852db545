package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/batch"
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
			s.takeOff(p.UID)
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

// makeRoom evicts the least that lets a whole unit fit: pods of queues that use
// more than their quota, or else pods of lower priority. It returns why not.
func (s *Scheduler) makeRoom(u *batch.Unit, t *trial, v fair.Verdict) string {
	by := t.pods[0]
	if s.roomComes(t) {
		u.Alone = true // to see what others left of it
		return "not eligible due to terminating pods that make room."
	}
	for _, w := range t.pods {
		s.forsake(w)
		w.Nominated = ""
		s.leaveRoom(w)
	}
	s.batch.GiveUpRoom(u)
	if v.Standing != fair.Within && v.Standing != fair.Lent {
		return "" // who borrows takes nothing from others
	}
	s.measured.preemptions.Inc()
	if u.Queue != "" && s.batch.MayRetake(u) {
		if victims, nodes := s.retake(u, t); victims != nil {
			s.evictFor(u, t, victims, nodes, fmt.Sprintf("%s: taking back the quota of queue %s", by.Pod.Spec.SchedulerName, u.Queue))
			return ""
		}
	}
	if v.Standing == fair.Lent || s.profileOf(by.Pod).NoPreemption || polite(by.Pod) {
		return ""
	}
	victims, nodes := s.preemptForAll(u, t)
	if victims == nil {
		return fmt.Sprintf("evicting pods of lower priority would not make room for all %d.", t.need)
	}
	s.evictFor(u, t, victims, nodes, by.Pod.Spec.SchedulerName+": preempting to accommodate a higher priority pod")
	return ""
}

// roomComes reports whether pods are about to end that a unit took the place of, and
// their going is of use to all of it.
func (s *Scheduler) roomComes(t *trial) bool {
	comes := false
	for i, w := range t.pods {
		comes = comes || s.madeRoom(w)
		ask, asked := t.asks[i]
		if !asked {
			ask = engine.Ask{Pod: w.Pod, Profile: s.profileOf(w.Pod).Profile}
		}
		if node := roomOf(w); node != "" && s.engine.Hopeless(ask, node) {
			return false
		}
	}
	return comes
}

// fits tries the pods that a unit needs at once and takes them back. It returns
// where they would go, or nil.
func (s *Scheduler) fits(u *batch.Unit, t *trial, before func(int, engine.Ask) bool) map[types.UID]string {
	again := s.newTrial(t.ctx, u, t.pods[:min(t.need, len(t.pods))], t.need)
	again.before = before
	placed, _ := gang.Place(again, len(again.pods), t.need)
	if placed == nil {
		return nil
	}
	out := map[types.UID]string{}
	for _, i := range placed {
		uid := again.pods[i].Pod.UID
		out[uid] = s.engine.NodeOf(uid)
	}
	for _, i := range slices.Backward(placed) {
		again.Take(i)
	}
	return out
}

// retake chooses what a queue takes back for a unit to fit.
func (s *Scheduler) retake(u *batch.Unit, t *trial) ([]*corev1.Pod, map[types.UID]string) {
	// What leaves already need not be taken back once more.
	leaving := s.takeAway(s.batch.Leaving())
	defer s.bringBack(leaving)
	budgets := s.budgets.list()
	holdings, pods := s.batch.Holdings(func(p *corev1.Pod) bool { return engine.Protected(p, budgets) })
	without := func(gone []int) map[types.UID]string {
		var all []away
		for _, h := range gone {
			all = append(all, s.takeAway(pods[h])...)
		}
		defer s.bringBack(all)
		if s.batch.Verdict(u).Standing != fair.Within {
			return nil
		}
		return s.fits(u, t, nil)
	}
	if nodes := without(nil); nodes != nil {
		return []*corev1.Pod{}, nodes
	}
	order, need := s.batch.Reclaim(u, holdings)
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

// preemptForAll chooses pods of lower priority whose going lets a unit fit.
func (s *Scheduler) preemptForAll(u *batch.Unit, t *trial) ([]*corev1.Pod, map[types.UID]string) {
	var victims []*corev1.Pod
	var all []away
	budgets := s.budgets.list()
	nodes := s.fits(u, t, func(_ int, ask engine.Ask) bool {
		found, why := s.engine.Preempt(ask, budgets)
		if found == nil {
			u.Alone = u.Alone || why.MayPreempt() // whoever goes may help
			return false
		}
		its := s.batch.Whole(found.Victims, corev1helper.PodPriority(ask.Pod))
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

// evictFor evicts what makes room for a unit, and keeps that room for it.
func (s *Scheduler) evictFor(u *batch.Unit, t *trial, victims []*corev1.Pod, nodes map[types.UID]string, message string) {
	s.measured.victims.Observe(float64(len(victims)))
	s.batch.MadeRoom(u)
	var by *backlog.Waiting
	for _, w := range t.pods {
		if node := nodes[w.Pod.UID]; node != "" {
			w.Nominated = node
			s.engine.Nominate(w.Pod, node)
			s.nominate(w, node)
			by = w
		}
	}
	for _, v := range victims {
		s.evict(by, v, s.engine.NodeOf(v.UID), message)
	}
}
