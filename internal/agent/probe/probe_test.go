package probe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/probe/check"
)

// script answers each probe of a container, told apart by its period, and notes when
// it was asked.
type script struct {
	mu      sync.Mutex
	began   time.Time
	answers map[int32]func(nth int) (bool, error)
	asked   map[int32][]time.Duration
}

func (s *script) Ask(_ context.Context, _ check.Target, p *corev1.Probe) (check.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nth := len(s.asked[p.PeriodSeconds])
	s.asked[p.PeriodSeconds] = append(s.asked[p.PeriodSeconds], time.Since(s.began))
	ok, err := s.answers[p.PeriodSeconds](nth)
	return check.Answer{OK: ok}, err
}

func newScript() *script {
	return &script{began: time.Now(), answers: map[int32]func(int) (bool, error){}, asked: map[int32][]time.Duration{}}
}

func always(ok bool) func(int) (bool, error) { return func(int) (bool, error) { return ok, nil } }

func from(good int) func(int) (bool, error) {
	return func(n int) (bool, error) { return n >= good, nil }
}

func group(s *script, c corev1.Container) (*Group, func() plan.Health) {
	g := NewGroup(Options{Asker: s, Changed: func() {}, Unhealthy: func(*corev1.Container, string) {}})
	g.Sync(context.Background(), []Target{{Target: check.Target{Container: &c, ID: "c"}, Started: time.Now()}})
	return g, func() plan.Health { synctest.Wait(); return g.Health()["c"] }
}

func TestNoProbesMeansReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, health := group(newScript(), corev1.Container{})
		defer g.Stop()
		if h := health(); !h.Started || !h.Ready || h.Failed != "" {
			t.Errorf("health is %+v", h)
		}
	})
}

func TestReadinessOfAProgramThatBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		// It listens after 100 ms, and goes away after 20 s for a while.
		s.answers[10] = func(int) (bool, error) {
			since := time.Since(s.began)
			return since >= 100*time.Millisecond && since < 20*time.Second, nil
		}
		var told []time.Duration
		probe := &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		g := NewGroup(Options{Asker: s, Changed: func() {}, Unhealthy: func(*corev1.Container, string) { told = append(told, time.Since(s.began)) }})
		g.Sync(t.Context(), []Target{{Target: check.Target{Container: &corev1.Container{ReadinessProbe: probe}, ID: "c"}, Started: time.Now()}})
		time.Sleep(35 * time.Second)
		g.Stop()
		// 0, 20 and 60 ms are too early, 140 ms is not; then the period holds, also
		// for the failures.
		want := []time.Duration{0, 20e6, 60e6, 140e6, 10140e6, 20140e6, 30140e6}
		if !slices.Equal(s.asked[10], want) {
			t.Errorf("asked after %v, want %v", s.asked[10], want)
		}
		if !slices.Equal(told, want[5:]) {
			t.Errorf("told after %v, want %v", told, want[5:])
		}
	})
}

func TestReadinessIsAskedAtOnceAndFollowsThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		// Good from the start, bad for three answers, good again.
		s.answers[10] = func(n int) (bool, error) { return n < 2 || n > 4, nil }
		g, health := group(s, corev1.Container{ReadinessProbe: &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3, SuccessThreshold: 2}})
		defer g.Stop()
		for _, at := range []struct {
			seconds int
			ready   bool
		}{{0, false}, {10, true}, {30, true}, {40, false}, {50, false}, {60, true}} {
			time.Sleep(time.Until(s.began.Add(time.Duration(at.seconds) * time.Second)))
			if h := health(); h.Ready != at.ready || h.Failed != "" {
				t.Errorf("after %d s: %+v, want ready %t", at.seconds, h, at.ready)
			}
		}
		if s.asked[10][0] != 0 {
			t.Errorf("first asked after %s", s.asked[10][0])
		}
	})
}

func TestStartupHoldsTheOthersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.answers[1], s.answers[2], s.answers[3] = from(5), always(true), always(true)
		g, health := group(s, corev1.Container{
			StartupProbe:   &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 10},
			LivenessProbe:  &corev1.Probe{PeriodSeconds: 2},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 3, InitialDelaySeconds: 4},
		})
		defer g.Stop()
		time.Sleep(4500 * time.Millisecond)
		if h := health(); h.Started || h.Ready || len(s.asked[2])+len(s.asked[3]) > 0 {
			t.Errorf("before the start: %+v, asked %v", h, s.asked)
		}
		time.Sleep(time.Second)
		if h := health(); !h.Started || !h.Ready {
			t.Errorf("after the start: %+v", h)
		}
		if want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second}; !slices.Equal(s.asked[1], want) {
			t.Errorf("startup was asked at %v", s.asked[1])
		}
	})
}

func TestStartupAndLivenessFail(t *testing.T) {
	for name, c := range map[string]corev1.Container{
		"startup":  {StartupProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3}, LivenessProbe: &corev1.Probe{PeriodSeconds: 2}},
		"liveness": {LivenessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				s.answers[1] = always(false)
				g, health := group(s, c)
				defer g.Stop()
				time.Sleep(1500 * time.Millisecond)
				if h := health(); h.Failed != "" {
					t.Errorf("after two answers: %+v", h)
				}
				time.Sleep(10 * time.Second)
				if h := health(); h.Failed != name {
					t.Errorf("after three answers: %+v", h)
				}
				if n := len(s.asked[1]); n != 3 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestNoAnswerIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.answers[1] = func(int) (bool, error) { return false, errors.New("the runtime is away") }
		g, health := group(s, corev1.Container{LivenessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1}})
		defer g.Stop()
		time.Sleep(5500 * time.Millisecond)
		if h := health(); h.Failed != "" {
			t.Errorf("health is %+v", h)
		}
		if n := len(s.asked[1]); n != 6*attempts {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestWhatWasReadyStaysReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.answers[1], s.answers[2] = always(false), always(false)
		c := corev1.Container{StartupProbe: &corev1.Probe{PeriodSeconds: 1}, ReadinessProbe: &corev1.Probe{PeriodSeconds: 2, FailureThreshold: 2}}
		g := NewGroup(Options{Asker: s, Changed: func() {}, Unhealthy: func(*corev1.Container, string) {}})
		defer g.Stop()
		g.Sync(t.Context(), []Target{{Target: check.Target{Container: &c, ID: "c"}, Started: time.Now(), WasReady: true, WasStarted: true}})
		synctest.Wait()
		if h := g.Health()["c"]; !h.Started || !h.Ready {
			t.Errorf("adopted as %+v", h)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if h := g.Health()["c"]; h.Ready {
			t.Errorf("after two bad answers: %+v", h)
		}
	})
}

func TestStopHealthLeavesReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.answers[1], s.answers[2] = always(false), from(3)
		g, health := group(s, corev1.Container{
			LivenessProbe:  &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2, InitialDelaySeconds: 1},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 2},
		})
		defer g.Stop()
		g.StopHealth()
		time.Sleep(7 * time.Second)
		if h := health(); h.Failed != "" || !h.Ready {
			t.Errorf("health is %+v", h)
		}
	})
}
