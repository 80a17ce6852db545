package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// nothing is a cache that has no object.
type nothing struct{ cache.Cache }

func (nothing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewNotFound(corev1.Resource("namespaces"), "n")
}

// deaf is a recorder that nobody listens to.
type deaf struct{ Recorder }

// alone is a scheduler whose loop the test turns, with one node of two processors.
func alone() *Scheduler {
	s := New(nil, nothing{}, deaf{}, Options{})
	s.placing.Store(true)
	s.turn(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
		}},
	})
	return s
}

// turn has the loop read letters and answer newcomers.
func (s *Scheduler) turn(letters ...any) {
	var changes []mailbox.Change
	for _, l := range letters {
		changes = append(changes, mailbox.Change{Object: l})
	}
	s.read(changes, time.Now())
	s.welcome(context.Background())
}

// arrive asks about a pod of one processor, and returns its node.
func (s *Scheduler) arrive(pod *corev1.Pod, before ...any) string {
	answer := make(chan string, 1)
	s.turn(append(before, newcomer{pod, answer})...)
	return <-answer
}

func asks(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
		}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func TestNewcomersCountOnTheirNode(t *testing.T) {
	s := alone()
	first := asks("first", nil)
	if got := s.arrive(first); got != "n1" {
		t.Fatalf("the first is on node %q, want n1", got)
	}
	s.turn(asks("first", on("n1"))) // stored
	if got := s.arrive(asks("second", nil)); got != "n1" {
		t.Errorf("the second is on node %q, want n1", got)
	}
	if got := s.arrive(asks("third", nil)); got != "" {
		t.Errorf("the third is on node %q and there is no room", got)
	}
	s.turn(unstored{asks("second", nil)})
	if got := s.arrive(asks("fourth", nil)); got != "n1" {
		t.Errorf("the fourth is on node %q, want the place that came free", got)
	}
	s.turn(unstored{first})
	if got := s.arrive(asks("fifth", nil)); got != "" {
		t.Errorf("the fifth is on node %q, whose place is that of one who is stored all the same", got)
	}
}

func TestWhoDoesNotWait(t *testing.T) {
	s := alone()
	late := asks("late", nil)
	if got := s.arrive(late, unstored{late}); got != "n1" {
		t.Fatalf("asked again, it is on node %q", got)
	}
	s.turn(unstored{late})
	// Its answer came too late, and both letters are read at once.
	s.turn(newcomer{late, make(chan string, 1)}, unstored{late})
	for _, name := range []string{"a", "b"} {
		if got := s.arrive(asks(name, nil)); got != "n1" {
			t.Errorf("%s is on node %q: the place of who did not wait is kept", name, got)
		}
	}
}

// TestNewcomersWaitTheirTurn: who has waited longer or is more important goes first, to
// the place too that comes free in the same moment.
func TestNewcomersWaitTheirTurn(t *testing.T) {
	priority := func(p int32) func(*corev1.Pod) { return func(pod *corev1.Pod) { pod.Spec.Priority = &p } }
	s := alone()
	s.turn(asks("x", on("n1")), asks("y", on("n1")))
	waits := asks("waits", nil)
	s.turn(waits)
	w := s.queue.Pop()
	if w == nil || w.Pod != waits {
		t.Fatal("the pod does not wait")
	}
	ask, _, _ := s.ask(t.Context(), waits, s.profileOf(waits))
	if _, ok := s.engine.Choose(ask); ok {
		t.Fatal("there is room for the pod that is to wait")
	}
	s.queue.Park(w, s.engine.KeyOf(ask), 0, time.Now())
	if got := s.arrive(asks("small", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil })); got != "n1" {
		t.Errorf("who needs nothing is on node %q, and nobody is in its way", got)
	}
	freed := mailbox.Change{Object: asks("x", on("n1")), Deleted: true}
	answer := make(chan string, 1)
	s.read([]mailbox.Change{freed, {Object: newcomer{asks("newcomer", nil), answer}}}, time.Now())
	s.welcome(t.Context())
	if got := <-answer; got != "" {
		t.Errorf("the newcomer is on node %q, in the place of one who has waited", got)
	}
	if got := s.arrive(asks("urgent", priority(10))); got != "n1" {
		t.Errorf("a more important newcomer is on node %q, want n1", got)
	}
	if s.queue.First() != w {
		t.Error("who has waited does not try")
	}
}

func TestWhoHasToBeBound(t *testing.T) {
	s := alone()
	for name, change := range map[string]func(*corev1.Pod){
		"of another scheduler": func(p *corev1.Pod) { p.Spec.SchedulerName = "other" },
		"with a gate":          func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x.io/gate"}} },
		"with a claim": func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
		},
		"with devices": func(p *corev1.Pod) {
			name := "c"
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "d", ResourceClaimName: &name}}
		},
		"of a group": func(p *corev1.Pod) {
			name := "g"
			p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &name}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					for ctx.Err() == nil {
						select {
						case <-s.mail.Ready():
						case <-ctx.Done():
							return
						}
						s.read(s.mail.Take(), time.Now())
						s.welcome(ctx)
					}
				}()
				if node, _ := s.Place(ctx, asks(name, change)); node != "" {
					t.Errorf("it is on node %q without having been bound", node)
				}
			})
		})
	}
}

// TestPlaceWithoutALoop: whoever stores a pod does not wait for long, and not at all for
// a scheduler that does not run.
func TestPlaceWithoutALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone()
		began := time.Now()
		if node, _ := s.Place(t.Context(), asks("p", nil)); node != "" {
			t.Errorf("it is on node %q", node)
		}
		if took := time.Since(began); took != newcomerTimeout {
			t.Errorf("it took %v, want %v", took, newcomerTimeout)
		}
		// The loop reads both letters, and keeps nothing.
		s.read(s.mail.Take(), time.Now())
		s.welcome(t.Context())
		if got := s.engine.NodeOf("p"); got != "" {
			t.Errorf("it counts on node %q", got)
		}
		s.placing.Store(false)
		began = time.Now()
		if node, _ := s.Place(t.Context(), asks("q", nil)); node != "" || time.Since(began) > 0 {
			t.Errorf("it is on node %q after %v", node, time.Since(began))
		}
	})
}

// TestNewcomerThatNobodySaw: who was stored and deleted before the scheduler saw it gives
// its place back in the end.
func TestNewcomerThatNobodySaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone()
		for _, name := range []string{"a", "b"} {
			if got := s.arrive(asks(name, nil)); got != "n1" {
				t.Fatalf("%s is on node %q", name, got)
			}
			time.Sleep(time.Second)
		}
		s.turn(asks("a", on("n1")))
		if left := s.due(time.Now()); left <= 0 || left > unseenTimeout {
			t.Errorf("the loop sleeps for %v", left)
		}
		time.Sleep(unseenTimeout)
		s.due(time.Now())
		if a, b := s.engine.NodeOf("a"), s.engine.NodeOf("b"); a != "n1" || b != "" {
			t.Errorf("who was seen is on node %q and who was not on %q, want n1 and none", a, b)
		}
		if left := s.unseen.order; len(left) > 0 {
			t.Errorf("it is remembered: %v", left)
		}
	})
}
