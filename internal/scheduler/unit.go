package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/batch"
	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/gang"
)

// trial is a board on which the pods of a unit are tried.
type trial struct {
	s       *Scheduler
	ctx     context.Context
	unit    *batch.Unit
	pods    []*backlog.Waiting
	need    int // pods beyond these are tried only within the queue's means
	tried   int // how many have a place
	works   map[int]work
	choices map[int]engine.Choice
	asks    map[int]engine.Ask
	plans   map[int]plans
	why     map[int]string // of pods that have a problem on every node
	told    map[int]string // why the first had no place, beside those placed before
	explain bool
	before  func(i int, ask engine.Ask) bool
}

func (s *Scheduler) newTrial(ctx context.Context, u *batch.Unit, pods []*backlog.Waiting, need int) *trial {
	return &trial{s: s, ctx: ctx, unit: u, pods: pods, need: need,
		works: map[int]work{}, choices: map[int]engine.Choice{}, asks: map[int]engine.Ask{}, plans: map[int]plans{}, why: map[int]string{}, told: map[int]string{}}
}

// Put implements gang.Board.
func (t *trial) Put(i int) bool {
	s, pod := t.s, t.pods[i].Pod
	if t.tried >= t.need && !s.batch.Allows(t.unit, s.batch.Member(pod.UID)) {
		return false
	}
	ask, plan, problem := s.ask(t.ctx, pod, s.profileOf(pod))
	t.asks[i], t.plans[i] = ask, plan
	if problem != "" {
		t.why[i] = problem
		return false
	}
	choice, ok := s.engine.Choose(ask)
	if !ok && t.before != nil && t.before(i, ask) {
		choice, ok = s.engine.Choose(ask)
	}
	if !ok {
		if t.explain && len(t.told) == 0 {
			// It may fit where the others of its group were not.
			t.told[i] = s.engine.Explain(ask).Message()
		}
		return false
	}
	node := choice.Node
	work, err := plan.decide(s.engine.Node(node))
	if err != nil {
		t.why[i] = err.Error()
		return false
	}
	t.works[i], t.choices[i] = work, choice
	s.engine.SetPod(pod, node)
	s.storage.SetPod(pod)
	s.storage.Assume(pod, work.volumes)
	s.devices.Assume(pod, work.devices)
	s.settle(pod.UID)
	t.tried++
	return true
}

// Take implements gang.Board.
func (t *trial) Take(i int) {
	s, w := t.s, t.pods[i]
	s.forgetPreparation(w.Pod.UID)
	s.takeOff(w.Pod.UID)
	s.settle(w.Pod.UID)
	t.tried--
	if w.Nominated != "" {
		s.engine.Nominate(w.Pod, w.Nominated)
	}
}

// scheduleUnit places a unit, all or nothing, or parks it. The only error is the
// context's.
func (s *Scheduler) scheduleUnit(ctx context.Context, u *batch.Unit) error {
	now := time.Now()
	need, problem := s.batch.Least(u)
	pods := s.batch.Waiting(u)
	if problem != "" || len(pods) == 0 {
		u.Alone = false
		s.batch.Drop(u) // until a pod or the group comes
		s.refuse(u, problem)
		return nil
	}
	v := s.batch.Verdict(u)
	if v.Standing == fair.Never {
		s.batch.ParkLong(u, now)
		s.refuse(u, v.Words(u.Queue))
		return nil
	}
	for _, w := range pods {
		w.Attempts++
	}
	t := s.newTrial(ctx, u, pods, need)
	t.explain = true
	placed, failed := []int(nil), -1
	if v.Standing <= fair.Borrows {
		placed, failed = gang.Place(t, len(pods), need)
		s.measured.algorithm(now)
	}
	if placed == nil {
		s.unitUnfit(u, t, v, failed, now)
		return ctx.Err()
	}
	s.commit(u, t, placed, now)
	if u.Pending() > 0 {
		s.rest(u, t, failed, now)
	}
	return s.bindReady(ctx)
}

// commit binds what was tried.
func (s *Scheduler) commit(u *batch.Unit, t *trial, placed []int, now time.Time) {
	s.batch.Placed(u)
	for _, i := range placed {
		w, profile := t.pods[i], s.profileOf(t.pods[i].Pod)
		node := s.engine.NodeOf(w.Pod.UID)
		w.Nominated = ""
		s.notePlaced(w.Pod, t.choices[i], now)
		s.measured.attempt("scheduled", profile.Name, now)
		if work := t.works[i]; !work.empty() {
			s.prepare(w, node, work, now.Add(profile.BindTimeout))
			continue
		}
		s.ready = append(s.ready, bind{pod: w.Pod, node: node})
	}
	s.reportScheduled(u)
}

// rest parks what is beyond the least count of a group and has no place.
func (s *Scheduler) rest(u *batch.Unit, t *trial, failed int, now time.Time) {
	message := fair.WaitsForTurn(u.Queue)
	if failed >= 0 {
		message = s.whyNot(t, failed) + s.giveBackOf(t, failed)
		s.remember(u, t, failed)
	} else {
		u.Alone = true
	}
	s.batch.Park(u, now)
	s.sayUnit(u, message)
}

// unitUnfit parks a unit that has no place, after it has tried to make room.
func (s *Scheduler) unitUnfit(u *batch.Unit, t *trial, v fair.Verdict, failed int, now time.Time) {
	message := v.Words(u.Queue)
	var profile *config.Profile
	if failed >= 0 {
		message = s.whyNot(t, failed) + s.giveBackOf(t, failed)
		profile = s.profileOf(t.pods[failed].Pod)
		s.measured.attempt("unschedulable", profile.Name, now)
		s.remember(u, t, failed)
	} else {
		u.Alone = true
	}
	if g := u.Group(); g != "" {
		message = fmt.Sprintf("pod group %q: %d more of its pods must fit at once: %s", g, t.need, message)
	}
	s.batch.Park(u, now)
	note := s.makeRoom(u, t, v)
	if note != "" {
		message += " preemption: " + note
	}
	s.refuse(u, message)
}

// remember notes what may let a unit fit.
func (s *Scheduler) remember(u *batch.Unit, t *trial, failed int) {
	ask := t.asks[failed]
	u.Class = s.engine.KeyOf(ask)
	u.Alone = len(ask.Extras) > 0 || t.why[failed] != ""
	u.Helps = engine.AnyNodeChange
	u.Retaking = u.Queue != "" && s.batch.MayRetake(u)
}

// giveBackOf frees devices that keep a pod of a trial from nodes, if nobody uses them.
func (s *Scheduler) giveBackOf(t *trial, i int) string {
	if t.plans[i].devices == nil {
		return ""
	}
	return s.giveBack(t.plans[i], t.asks[i])
}

// whyNot says why a pod of a trial has no place.
func (s *Scheduler) whyNot(t *trial, i int) string {
	if problem := t.why[i]; problem != "" {
		return fmt.Sprintf("0/%d nodes are available: %s.", s.engine.Nodes(), problem)
	}
	if told := t.told[i]; told != "" {
		return told
	}
	return s.engine.Explain(t.asks[i]).Message()
}
