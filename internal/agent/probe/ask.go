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
}

func newLoop(t *target, k kind, p *corev1.Probe) *loop {
	l := &loop{at: first(p, t.Started), period: period(p)}
	if k != startup {
		l.started = t.started
	}
	return l
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

// ask puts the question; valid is false when there is no answer that counts.
func (g *Group) ask(ctx context.Context, t *target, k kind, p *corev1.Probe) (ok, valid bool) {
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
		case !answer.OK:
			g.options.Unhealthy(t.Container, fmt.Sprintf("%s probe failed: %s", k.title(), answer.Output))
		case answer.Warning:
			g.options.Unhealthy(t.Container, fmt.Sprintf("%s probe warning: %s", k.title(), answer.Output))
		}
		return answer.OK, true
	}
	return false, false
}
