package client_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/client/given"
)

// cpu is what this process has computed so far. On a busy machine it says more
// than the time that passed.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// each runs f for every i below b.N, 16 at a time.
func each(b *testing.B, f func(i int) error) {
	var next atomic.Int64
	var workers sync.WaitGroup
	began := cpu(b)
	b.ResetTimer()
	for range 16 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

// placed is an event as the scheduler tells of a placement.
func placed(i int, pod string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s.%d", pod, i)},
		EventTime:  metav1.NowMicro(), Type: corev1.EventTypeNormal, Reason: "Scheduled", Action: "Binding",
		ReportingController: "default-scheduler", ReportingInstance: "default-scheduler-n",
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod, APIVersion: "v1"},
		Note:      fmt.Sprintf("Successfully assigned default/%s to %d", pod, i),
	}
}

// BenchmarkPod creates replicas, binds them and tells of it, as controllers and
// scheduler do.
func BenchmarkPod(b *testing.B) {
	for _, w := range ways() {
		s := apitest.StartWith(b, apitest.Options{NoSync: true})
		c, _ := w.make(b, s)
		if err := c.Create(b.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
			b.Fatal(err)
		}
		var mu sync.Mutex
		var unbound []*corev1.Pod
		b.Run("create/"+w.name, func(b *testing.B) {
			each(b, func(int) error {
				p := pod("default", "", map[string]string{"app": "bench"})
				p.GenerateName = "bench-"
				err := c.Create(b.Context(), p, given.Away{})
				mu.Lock()
				unbound = append(unbound, p)
				mu.Unlock()
				return err
			})
		})
		b.Run("bind/"+w.name, func(b *testing.B) {
			for len(unbound) < b.N {
				p := pod("default", "", nil)
				p.GenerateName = "more-"
				if err := c.Create(b.Context(), p); err != nil {
					b.Fatal(err)
				}
				unbound = append(unbound, p)
			}
			mine := unbound[:b.N]
			unbound = unbound[b.N:]
			each(b, func(i int) error {
				return c.SubResource("binding").Create(b.Context(), mine[i], &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}})
			})
		})
		b.Run("tell/"+w.name, func(b *testing.B) {
			each(b, func(i int) error {
				return c.Create(b.Context(), placed(i, fmt.Sprintf("bench%d", b.N)), given.Away{})
			})
		})
		s.Stop()
	}
}
