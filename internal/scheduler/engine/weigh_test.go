package engine

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// weigher asks again and again what would have to leave few nodes that are full.
type weigher struct {
	*machine
	asks []Ask
}

func newWeigher(t *rapid.T) *weigher {
	m := &weigher{machine: newMachine()}
	for i := range 3 {
		p := makePod(fmt.Sprintf("asks%d", i), rapid.SampledFrom([]string{"500m", "1", "2"}).Draw(t, "wants"), podLabel("app", "x"))
		matters(p, rapid.Int32Range(1, 3).Draw(t, "matters"))
		switch rapid.IntRange(0, 5).Draw(t, "rule") {
		case 0:
			spread("app", "zone", 1)(p)
		case 1:
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term("zone")}}}
		}
		ask := Ask{Pod: p}
		if chance(t, 4, "kin") {
			ask.Spread = mustSelect(app("x"))
		}
		if chance(t, 6, "extra") {
			ask.Extras = []Extra{zoneless{}}
		}
		m.asks = append(m.asks, ask)
	}
	return m
}

func matters(p *corev1.Pod, priority int32) { p.Spec.Priority = &priority }

func (m *weigher) somewhere(t *rapid.T) string {
	return fmt.Sprintf("n%d", rapid.IntRange(0, 3).Draw(t, "where"))
}

func (m *weigher) node(t *rapid.T) {
	n := makeNode(m.somewhere(t), fmt.Sprint(rapid.IntRange(2, 4).Draw(t, "cpu")), "8Gi")
	if !chance(t, 6, "no zone") {
		label("zone", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"))(n)
	}
	m.w.nodes[n.Name] = n
	m.e.SetNode(n)
}

// fill puts a pod somewhere, whether it fits or not.
func (m *weigher) fill(t *rapid.T) {
	p := makePod(fmt.Sprintf("p%d", m.next), rapid.SampledFrom([]string{"500m", "1"}).Draw(t, "has"), podLabel("app", rapid.SampledFrom(apps).Draw(t, "app")))
	m.next++
	matters(p, rapid.Int32Range(0, 2).Draw(t, "matters"))
	m.put(p, m.somewhere(t))
}

func (m *weigher) waits(t *rapid.T) {
	ask := rapid.SampledFrom(m.asks).Draw(t, "which")
	if chance(t, 3, "no more") {
		m.e.RemoveNomination(ask.Pod.UID)
		return
	}
	m.e.Nominate(ask.Pod, m.somewhere(t))
}

// podStarts changes nothing but who preemption prefers.
func (m *weigher) podStarts(t *rapid.T) {
	p := m.somePod(t).DeepCopy()
	if m.w.where[p.UID] == "" {
		t.Skip("waits")
	}
	start := metav1.Unix(int64(rapid.IntRange(1, 3).Draw(t, "start")), 0)
	p.Status.StartTime = &start
	m.w.pods[p.UID] = p
	m.e.SetPod(p, m.w.where[p.UID])
}

func (m *weigher) weigh(t *rapid.T) {
	ask, budgets := rapid.SampledFrom(m.asks).Draw(t, "which"), drawBudgets(t)
	fresh := m.fresh()
	for slot, n := range m.e.slots {
		if n != nil && slot < m.e.offset {
			fresh.offset++
		}
	}
	got, why := m.e.Preempt(ask, budgets)
	want, whyNot := fresh.Preempt(ask, budgets)
	if !reflect.DeepEqual(got, want) || why.Message() != whyNot.Message() || why.MayPreempt() != whyNot.MayPreempt() {
		t.Fatalf("preempts %+v, %s; from scratch %+v, %s", got, why.Message(), want, whyNot.Message())
	}
}

// Whatever happened to the cluster, what would have to leave a node is what is found
// when nothing is known.
func TestWhatIsWeighedIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newWeigher(t)
		for range 3 {
			m.node(t)
		}
		for range 8 {
			m.fill(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"node": m.node, "pod ends": m.podEnds, "pod terminates": m.podTerminates, "pod starts": m.podStarts, "relabel": m.relabel,
			"waits": m.waits, "fill": m.fill, "fill more": m.fill, "weigh": m.weigh, "weigh another": m.weigh, "weigh a third": m.weigh,
		})
	})
}
