package scheduler

import (
	"encoding/hex"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/decisions"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Decisions keeps what is decided. Put never waits, and any goroutine calls it.
type Decisions interface{ Put(decisions.Decision) }

// notePlaced keeps where a pod was put, and what else there was.
func (s *Scheduler) notePlaced(pod *corev1.Pod, c engine.Choice, at time.Time) {
	if s.decided == nil {
		return
	}
	s.decided.Put(decisions.Decision{
		Time: at, Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Class: hex.EncodeToString(c.Class[:4]),
		Node: c.Node, Feasible: c.Feasible, Score: hundredths(c.Score), RunnerUp: hundredths(c.RunnerUp),
	})
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

// noteWaits keeps why a pod has no place.
func (s *Scheduler) noteWaits(pod *corev1.Pod, why string, x engine.Explanation, nominated *string) {
	if s.decided == nil {
		return
	}
	d := decisions.Decision{
		Time: time.Now(), Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Why: why, Reasons: reasons(x),
	}
	if nominated != nil {
		d.Nominated = *nominated
	}
	s.decided.Put(d)
}

// noteLost keeps why a pod lost the place that it had.
func (s *Scheduler) noteLost(pod *corev1.Pod, why string) {
	if s.decided == nil {
		return
	}
	s.decided.Put(decisions.Decision{Time: time.Now(), Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Why: why})
}

// mostNamed is how many nodes are named that have the same reason.
const mostNamed = 5

// reasons are what nodes have against a pod, the commonest first.
func reasons(x engine.Explanation) []decisions.Reason {
	var out []decisions.Reason
	for _, n := range x.Nodes {
		for i := range n.Refusals {
			r := &n.Refusals[i]
			at := slices.IndexFunc(out, func(o decisions.Reason) bool { return o.Rule == string(r.Rule) && o.Reason == r.Reason })
			if at < 0 {
				at = len(out)
				out = append(out, decisions.Reason{Rule: string(r.Rule), Reason: r.Reason})
			}
			out[at].Nodes++
			if len(out[at].Such) < mostNamed {
				out[at].Such = append(out[at].Such, n.Node)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b decisions.Reason) int { return b.Nodes - a.Nodes })
	return out
}
