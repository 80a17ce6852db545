package batch

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// world is a batch with the backlog that it reads.
type world struct {
	*Batch
	queue  *backlog.Queue
	labels map[string]string // of the namespace
	told   map[string]string // by queue, what its first unit was told
}

func newWorld() *world {
	q := backlog.New(time.Second, 10*time.Second)
	w := &world{queue: q, told: map[string]string{}}
	w.Batch = New(q, func(string) map[string]string { return w.labels })
	return w
}

func (w *world) add(name, group, queue string) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)}}
	pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}
	if group != "" {
		pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
	}
	if queue != "" {
		pod.Labels = map[string]string{batchv1.QueueLabel: queue}
	}
	held, _ := w.queue.Hold(pod, time.Unix(0, 0))
	w.Ready(w.Join(pod, held.Sequence).Unit)
}

func (w *world) addQueue(name, cpu string) {
	q := &batchv1.Queue{ObjectMeta: metav1.ObjectMeta{Name: name}}
	q.Spec.Quota = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	w.SetQueue(q)
}

func (w *world) next() *Unit {
	return w.Next(func(u *Unit, message string) { w.told[u.Queue] = message }, func(*Unit, string) {})
}

func TestNothingIsPlacedByWhatIsNotKnown(t *testing.T) {
	w := newWorld()
	w.add("a", "", "q")
	if len(w.Needs()) != 1 || w.Needs()[0] != Queues || w.next() != nil {
		t.Fatalf("needs %v; a unit of a queue has its turn before queues are known", w.Needs())
	}
	w.Known(Queues)
	if w.next() != nil || w.told["q"] != `there is no queue "q"` {
		t.Fatalf("told %q", w.told["q"])
	}
	w.addQueue("q", "1")
	if u := w.next(); u == nil || u.Queue != "q" {
		t.Fatal("the unit has no turn though its queue has room")
	}
}

func TestAPlacedPodIsChargedToItsQueue(t *testing.T) {
	w := newWorld()
	w.addQueue("q", "1")
	w.add("a", "", "q")
	w.add("b", "", "q")
	w.Known(Queues)
	first := w.next()
	w.Settle("a", true)
	w.Placed(first)
	if u := w.next(); u != nil || w.told["q"] == "" {
		t.Fatal("a second pod has its turn in a full queue")
	}
	if s := w.Changed()["q"]; s.AdmittedPods != 1 || s.PendingPods != 1 || s.DominantShare != "1.000" {
		t.Errorf("status: %+v", s)
	}
	if w.Changed() != nil {
		t.Error("a status is told of twice")
	}
	w.Settle("a", false)
	w.Leave("a")
	if u := w.next(); u == nil || w.Waiting(u)[0].Pod.Name != "b" {
		t.Error("what came free is not given to who waits")
	}
}

func TestAGangNeedsItsLeast(t *testing.T) {
	w := newWorld()
	w.add("a", "g", "")
	w.Known(Groups)
	u := w.next()
	if _, why := w.Least(u); why != `waiting for pod group "g" to be created` {
		t.Errorf("told %q", why)
	}
	g := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g"}}
	g.Spec.SchedulingPolicy.Gang = &schedulingv1beta1.GangSchedulingPolicy{MinCount: 2}
	w.SetGroup(g, false)
	if _, why := w.Least(u); why != `pod group "g" waits for its pods: 1 of at least 2 are there` {
		t.Errorf("told %q", why)
	}
	w.add("b", "g", "")
	if need, why := w.Least(u); need != 2 || why != "" {
		t.Errorf("needs %d %q, want both", need, why)
	}
}

func TestAQueueTakesTheNamespacesItSelects(t *testing.T) {
	w := newWorld()
	q := &batchv1.Queue{ObjectMeta: metav1.ObjectMeta{Name: "q"}}
	q.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	w.SetQueue(q)
	w.add("p", "", "q")
	w.Known(Queues)
	if w.next() != nil || w.told["q"] != `queue "q" does not take pods of namespace "ns"` {
		t.Fatalf("told %q", w.told["q"])
	}
	w.Wake(0, func(engine.Key) bool { return true })
	w.Due(time.Unix(1000, 0))
	if w.next() != nil {
		t.Fatal("it tries though nothing has changed")
	}
	w.labels = map[string]string{"team": "a"}
	w.NamespaceChanged()
	u := w.next()
	if u == nil {
		t.Fatal("it has no turn though its namespace is selected")
	}
	w.Settle("p", true)
	w.Placed(u)
	w.labels = nil
	w.NamespaceChanged()
	w.add("late", "", "q")
	w.Known(Queues)
	if w.next() != nil || w.Member("p") == nil || !w.Member("p").Placed {
		t.Fatal("what has a place keeps it, what comes gets none")
	}
	q.Spec.NamespaceSelector = nil
	w.SetQueue(q)
	if u := w.next(); u == nil || w.Waiting(u)[0].Pod.Name != "late" {
		t.Error("it has no turn though the queue takes everybody")
	}
}

// What never waits for its queue is not remembered as if it did.
func TestALineForgetsWhoIsPlaced(t *testing.T) {
	w := newWorld()
	w.addQueue("q", "1000")
	w.Known(Queues)
	for i := range 1000 {
		name := fmt.Sprint("p", i)
		w.add(name, "", "q")
		w.Known(Queues)
		u := w.next()
		w.Settle(types.UID(name), true)
		w.Placed(u)
	}
	if n := len(w.lines["q"].fresh); n > 10 {
		t.Errorf("%d units are remembered of a line that is empty", n)
	}
}

// A unit whose class stays infeasible tries again when a node has changed in a way
// that helps, since others may make room for it there, and once in a while anyway.
func TestAUnitTriesAgain(t *testing.T) {
	never := func(engine.Key) bool { return false }
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		name  string
		nodes engine.NodeChange
		after time.Duration
		want  bool
	}{
		{"nothing came", 0, time.Minute, false},
		{"what does not help", engine.NodeImages, time.Minute, false},
		{"what helps", engine.NodeLabels, time.Minute, true},
		{"nothing for long", 0, time.Hour, true},
	} {
		w := newWorld()
		w.addQueue("q", "10")
		w.add("p", "", "q")
		w.Known(Queues)
		u := w.next()
		u.Helps = engine.AnyNodeChange
		w.Park(u, now)
		w.Wake(tt.nodes, never)
		w.Due(now.Add(tt.after))
		if got := w.next() != nil; got != tt.want {
			t.Errorf("%s: tries %v", tt.name, got)
		}
	}
}
