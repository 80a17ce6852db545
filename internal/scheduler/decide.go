package scheduler

import (
	"encoding/hex"
	"math"
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

// reasons are what nodes have against a pod, the commonest first.
func reasons(x engine.Explanation) []decisions.Reason {
	var out []decisions.Reason
	for _, r := range x.Reasons() {
		out = append(out, decisions.Reason{Rule: string(r.Rule), Reason: r.Text, Nodes: r.Nodes, Such: r.Such})
	}
	return out
}
