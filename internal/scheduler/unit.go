package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/gang"
)

// nextUnit returns the unit whose turn it is, or nil: of queues the one that
// fairness chooses, and of these, gangs without a queue and pods alone the most
// important.
func (s *Scheduler) nextUnit() *unit {
	var best *unit
	var first fair.Turn
	for queue, l := range s.batch.lines {
		if queue == "" || len(l.units) == 0 || s.batch.needs[watchQueues] {
			continue
		}
		u := l.units[0]
		if s.unread(u) {
			continue
		}
		v := s.verdict(u)
		if v.Standing == fair.Waits || v.Standing == fair.Unknown || v.Standing == fair.Lent && !s.mayRetake(u) {
			s.sayWaits(l, v)
			continue
		}
		turn := u.turn(v.Standing, s.batch.book.Share(queue))
		if best == nil || turn.Compare(first) < 0 {
			best, first = u, turn
		}
	}
	if l := s.batch.lines[""]; l != nil && len(l.units) > 0 && !s.unread(l.units[0]) && (best == nil || earlier(l.units[0], best)) {
		best = l.units[0]
	}
	if best == nil {
		return nil
	}
	if len(s.queue.active) > 0 {
		w := s.queue.active[0]
		p := corev1helper.PodPriority(w.pod)
		if c := cmp.Compare(p, best.priority()); c > 0 || c == 0 && w.sequence < best.sequence {
			return nil
		}
	}
	return best
}

// unread reports whether a unit's group is not known yet.
func (s *Scheduler) unread(u *unit) bool { return u.key.group.Name != "" && s.batch.needs[watchGroups] }

func earlier(a, b *unit) bool {
	return cmp.Or(-cmp.Compare(a.priority(), b.priority()), cmp.Compare(a.sequence, b.sequence)) < 0
}

// least is how many pods a unit needs at once, or why it cannot be placed yet.
func (s *Scheduler) least(u *unit) (int, string) {
	if u.key.group.Name == "" {
		return 1, ""
	}
	g := s.batch.groups[u.key.group]
	if g == nil {
		return 0, fmt.Sprintf("waiting for pod group %q to be created", u.key.group.Name)
	}
	policy := g.Spec.SchedulingPolicy.Gang
	if policy == nil {
		return 1, ""
	}
	need := gang.Missing(int(policy.MinCount), u.placed)
	if need > u.pending() && u.placed < int(policy.MinCount) {
		return 0, fmt.Sprintf("pod group %q waits for its pods: %d of at least %d are there", u.key.group.Name, len(u.members), policy.MinCount)
	}
	return need, ""
}

// waitingOf are the pods of a unit that have no node, the first to be placed first.
func (s *Scheduler) waitingOf(u *unit) []*waiting {
	var out []*waiting
	for uid, m := range u.members {
		if w := s.queue.pods[uid]; w != nil && !m.placed {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *waiting) int {
		return cmp.Or(-cmp.Compare(corev1helper.PodPriority(a.pod), corev1helper.PodPriority(b.pod)), cmp.Compare(a.sequence, b.sequence))
	})
	return out
}

// request is what the pods take that a unit needs at once.
func (s *Scheduler) request(u *unit) fair.Amounts {
	out := fair.Amounts{}
	need, _ := s.least(u)
	for i, w := range s.waitingOf(u) {
		if i < need {
			out.Add(s.batch.members[w.pod.UID].amounts, 1)
		}
	}
	return out
}

func (s *Scheduler) verdict(u *unit) fair.Verdict {
	if u.queue == "" {
		return fair.Verdict{}
	}
	return s.batch.book.Ask(u.queue, u.key, s.request(u))
}

// trial is a board on which the pods of a unit are tried.
type trial struct {
	s       *Scheduler
	ctx     context.Context
	unit    *unit
	pods    []*waiting
	need    int // pods beyond these are tried only within the queue's means
	tried   int // how many have a place
	works   map[int]work
	asks    map[int]engine.Ask
	why     map[int]string // of pods that have a problem on every node
	told    map[int]string // why the first had no place, beside those placed before
	explain bool
	before  func(i int, ask engine.Ask) bool
}

func (s *Scheduler) newTrial(ctx context.Context, u *unit, pods []*waiting, need int) *trial {
	return &trial{s: s, ctx: ctx, unit: u, pods: pods, need: need,
		works: map[int]work{}, asks: map[int]engine.Ask{}, why: map[int]string{}, told: map[int]string{}}
}

// Put implements gang.Board.
func (t *trial) Put(i int) bool {
	s, pod := t.s, t.pods[i].pod
	if t.tried >= t.need && t.unit.queue != "" && s.batch.book.Ask(t.unit.queue, t.unit.key, s.batch.members[pod.UID].amounts).Standing > fair.Borrows {
		return false
	}
	ask, plan, problem := s.ask(t.ctx, pod, s.profileOf(pod))
	t.asks[i] = ask
	if problem != "" {
		t.why[i] = problem
		return false
	}
	node, ok := s.engine.Place(ask)
	if !ok && t.before != nil && t.before(i, ask) {
		node, ok = s.engine.Place(ask)
	}
	if !ok {
		if t.explain && len(t.told) == 0 {
			// It may fit where the others of its group were not.
			t.told[i] = s.engine.Explain(ask).Message()
		}
		return false
	}
	work, err := plan.decide(s.engine.Node(node))
	if err != nil {
		t.why[i] = err.Error()
		return false
	}
	t.works[i] = work
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
	s.forgetPreparation(w.pod.UID)
	s.engine.RemovePod(w.pod.UID)
	s.storage.RemovePod(w.pod.UID)
	s.settle(w.pod.UID)
	t.tried--
	if w.nominated != "" {
		s.engine.Nominate(w.pod, w.nominated)
	}
}

// scheduleUnit places a unit, all or nothing, or parks it. The only error is the
// context's.
func (s *Scheduler) scheduleUnit(ctx context.Context, u *unit) error {
	now := time.Now()
	need, problem := s.least(u)
	pods := s.waitingOf(u)
	if problem != "" || len(pods) == 0 {
		u.alone = false
		s.batch.drop(u) // until a pod or the group comes
		s.refuse(u, problem)
		return nil
	}
	v := s.verdict(u)
	if v.Standing == fair.Never {
		u.alone, u.retaking = true, false
		s.batch.park(u, s.queue.maxPause, now)
		s.refuse(u, v.Words(u.queue))
		return nil
	}
	for _, w := range pods {
		w.attempts++
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
	if u.pending() > 0 {
		s.rest(u, t, failed, now)
	}
	return s.bindReady(ctx)
}

// commit binds what was tried.
func (s *Scheduler) commit(u *unit, t *trial, placed []int, now time.Time) {
	s.batch.drop(u)
	u.failures, u.retaking, u.told = 0, false, ""
	for _, i := range placed {
		w, profile := t.pods[i], s.profileOf(t.pods[i].pod)
		node := s.engine.NodeOf(w.pod.UID)
		w.nominated = ""
		s.measured.attempt("scheduled", profile.Name, now)
		if work := t.works[i]; !work.empty() {
			s.prepare(w, node, work, now.Add(profile.BindTimeout))
			continue
		}
		s.ready = append(s.ready, bind{pod: w.pod, node: node})
	}
	s.reportScheduled(u)
}

// rest parks what is beyond the least count of a group and has no place.
func (s *Scheduler) rest(u *unit, t *trial, failed int, now time.Time) {
	message := fair.WaitsForTurn(u.queue)
	if failed >= 0 {
		message = s.whyNot(t, failed)
		s.remember(u, t, failed)
	} else {
		u.alone = true
	}
	u.failures++
	s.batch.park(u, s.pauseOf(u), now)
	s.sayUnit(u, message)
}

// unitUnfit parks a unit that has no place, after it has tried to make room.
func (s *Scheduler) unitUnfit(u *unit, t *trial, v fair.Verdict, failed int, now time.Time) {
	message := v.Words(u.queue)
	var profile *config.Profile
	if failed >= 0 {
		message = s.whyNot(t, failed)
		profile = s.profileOf(t.pods[failed].pod)
		s.measured.attempt("unschedulable", profile.Name, now)
		s.remember(u, t, failed)
	} else {
		u.alone = true
	}
	if g := u.key.group; g.Name != "" {
		message = fmt.Sprintf("pod group %q: %d more of its pods must fit at once: %s", g.Name, t.need, message)
	}
	u.failures++
	s.batch.park(u, s.pauseOf(u), now)
	note := s.makeRoom(u, t, v)
	if note != "" {
		message += " preemption: " + note
	}
	s.refuse(u, message)
}

// remember notes what may let a unit fit.
func (s *Scheduler) remember(u *unit, t *trial, failed int) {
	ask := t.asks[failed]
	u.class = s.engine.KeyOf(ask)
	u.alone = len(ask.Extras) > 0 || t.why[failed] != ""
	u.retaking = u.queue != "" && s.mayRetake(u)
}

func (s *Scheduler) pauseOf(u *unit) time.Duration {
	return min(s.queue.initialPause<<min(u.failures-1, 10), s.queue.maxPause)
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
