package probe

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// loop paces one probe.
type loop struct {
	at      time.Time       // when to ask next
	started <-chan struct{} // must be closed before the first question
	period  time.Duration
	// gap is the pause after the next early failure; 0 when it is not early any more.
	gap time.Duration
}

// firstGap is how soon a container that is not ready yet is asked again.
const firstGap = 20 * time.Millisecond

func newLoop(t *target, k kind, p *corev1.Probe) *loop {
	l := &loop{at: first(p, t.Started), period: period(p)}
	if k != startup {
		l.started = t.started
	}
	// A program needs some milliseconds from its start until it listens. Asking it
	// once and then not before the period is over would make every start as slow as
	// the period. A question by exec costs too much to be asked so often.
	if k == readiness && !t.WasReady && p.Exec == nil && (p.HTTPGet != nil || p.TCPSocket != nil || p.GRPC != nil) {
		l.gap = firstGap
	}
	return l
}

// sooner asks again before the period is over, ever less soon.
func (l *loop) sooner() {
	if l.gap >= l.period {
		l.gap = 0
	}
	if l.gap > 0 {
		l.at = time.Now().Add(l.gap)
		l.gap *= 2
	}
}

// next waits until the container may be asked (again); false is the end.
func (l *loop) next(ctx context.Context) bool {
	if l.started != nil {
		select {
		case <-ctx.Done():
			return false
		case <-l.started:
		}
	}
	timer := time.NewTimer(time.Until(l.at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	l.at = time.Now().Add(l.period)
	return ctx.Err() == nil
}

// ask puts the question; valid is false when there is no answer that counts. A bad
// answer is told unless it is early: that a program has just begun is no news.
func (g *Group) ask(ctx context.Context, t *target, k kind, p *corev1.Probe, early bool) (ok, valid bool) {
	for i := range attempts {
		answer, err := g.options.Asker.Ask(ctx, t.Target.Target, p)
		switch {
		case ctx.Err() != nil:
			return false, false
		case err != nil && i+1 < attempts:
			continue
		case err != nil:
			g.options.Unhealthy(t.Container, fmt.Sprintf("%s probe errored and resulted in unknown state: %s", k.title(), err))
			return false, false // no answer is no verdict
		case !answer.OK && early:
		case !answer.OK:
			g.options.Unhealthy(t.Container, fmt.Sprintf("%s probe failed: %s", k.title(), answer.Output))
		case answer.Warning:
			g.options.Unhealthy(t.Container, fmt.Sprintf("%s probe warning: %s", k.title(), answer.Output))
		}
		return answer.OK, true
	}
	return false, false
}
