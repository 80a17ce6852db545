// Package probe keeps asking a pod's containers whether they have started, are
// alive and are ready, and remembers the verdicts.
//
// A Group belongs to one pod. It has one goroutine per probe, which it starts in
// Sync and which have ended when Stop returns. The first question is put as soon
// as the probe's initial delay allows, without jitter. A container that failed is
// not asked again: it waits for its restart.
package probe

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/probe/check"
)

// attempts is how often a question that could not be put is tried again at once.
const attempts = 3

// Asker puts one question to a container.
type Asker interface {
	Ask(ctx context.Context, t check.Target, p *corev1.Probe) (check.Answer, error)
}

// Target is a running container.
type Target struct {
	check.Target
	Started time.Time
	// WasReady and WasStarted are what was known of this very container before the
	// group was made: an agent that starts again does not make anyone unready.
	WasReady, WasStarted bool
}

// Options are a group's ways out.
type Options struct {
	Asker Asker
	// Changed is called after a verdict changed. It must not block.
	Changed func()
	// Unhealthy reports a bad answer, in the words of an event.
	Unhealthy func(container *corev1.Container, message string)
}

// Group probes the containers of one pod.
type Group struct {
	options Options
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	targets map[string]*target
}

type target struct {
	Target
	cancel context.CancelFunc
	// stopHealth ends the startup and liveness probes alone.
	stopHealth context.CancelFunc
	started    chan struct{} // closed when the startup probe has succeeded

	health plan.Health // guarded by Group.mu
}

// NewGroup returns a group that probes nothing yet.
func NewGroup(options Options) *Group {
	return &Group{options: options, targets: map[string]*target{}}
}

// Sync makes the group probe exactly the containers in targets until ctx ends.
func (g *Group) Sync(ctx context.Context, targets []Target) {
	g.mu.Lock()
	defer g.mu.Unlock()
	keep := map[string]bool{}
	for _, t := range targets {
		keep[t.ID] = true
		if _, ok := g.targets[t.ID]; !ok {
			g.start(ctx, t)
		}
	}
	for id, t := range g.targets {
		if !keep[id] {
			t.cancel()
			delete(g.targets, id)
		}
	}
}

// start begins to probe a container. g.mu is held.
func (g *Group) start(ctx context.Context, given Target) {
	ctx, cancel := context.WithCancel(ctx)
	healthCtx, stopHealth := context.WithCancel(ctx)
	t := &target{Target: given, cancel: cancel, stopHealth: stopHealth, started: make(chan struct{})}
	c := given.Container
	t.health = plan.Health{
		Started: c.StartupProbe == nil || given.WasStarted,
		Ready:   c.ReadinessProbe == nil || given.WasReady,
	}
	g.targets[given.ID] = t
	if t.health.Started {
		close(t.started)
	} else {
		g.running.Go(func() { g.startup(healthCtx, t) })
	}
	if c.LivenessProbe != nil {
		g.running.Go(func() { g.liveness(healthCtx, t) })
	}
	if c.ReadinessProbe != nil {
		g.running.Go(func() { g.readiness(ctx, t) })
	}
}

// Health returns the verdicts by container ID.
func (g *Group) Health() map[string]plan.Health {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]plan.Health, len(g.targets))
	for id, t := range g.targets {
		out[id] = t.health
	}
	return out
}

// StopHealth ends startup and liveness probes: a pod that is being stopped is
// asked only whether it is ready.
func (g *Group) StopHealth() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.targets {
		t.stopHealth()
	}
}

// Stop ends all probes and returns when they have ended.
func (g *Group) Stop() {
	g.Sync(context.Background(), nil)
	g.running.Wait()
}

func (g *Group) set(t *target, change func(*plan.Health)) {
	g.mu.Lock()
	before := t.health
	change(&t.health)
	changed := t.health != before
	g.mu.Unlock()
	if changed {
		g.options.Changed()
	}
}

func (g *Group) startup(ctx context.Context, t *target) {
	p := t.Container.StartupProbe
	verdict := tally{}
	for l := newLoop(t, startup, p); l.next(ctx); {
		ok, valid := g.ask(ctx, t, startup, p, false)
		if !valid {
			continue
		}
		if verdict.count(ok, p); verdict.good {
			g.set(t, func(h *plan.Health) { h.Started = true })
			close(t.started)
			return
		}
		if verdict.failing(p) {
			g.set(t, func(h *plan.Health) { h.Failed = startup.String() })
			return
		}
	}
}

func (g *Group) liveness(ctx context.Context, t *target) {
	p := t.Container.LivenessProbe
	verdict := tally{good: true}
	for l := newLoop(t, liveness, p); l.next(ctx); {
		ok, valid := g.ask(ctx, t, liveness, p, false)
		if valid && verdict.count(ok, p) && !verdict.good {
			g.set(t, func(h *plan.Health) { h.Failed = liveness.String() })
			return
		}
	}
}

func (g *Group) readiness(ctx context.Context, t *target) {
	p := t.Container.ReadinessProbe
	verdict := tally{good: t.WasReady}
	for l := newLoop(t, readiness, p); l.next(ctx); {
		ok, valid := g.ask(ctx, t, readiness, p, l.gap > 0)
		if valid && verdict.count(ok, p) {
			g.set(t, func(h *plan.Health) { h.Ready = verdict.good })
		}
		if ok {
			l.gap = 0
		}
		l.sooner()
	}
}
