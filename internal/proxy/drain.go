package proxy

import (
	"context"
	"net/netip"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// drain waits for an address to leave all services.
type drain struct {
	ip   netip.Addr
	done chan struct{}
}

// Drained returns when no service on this node leads new connections to the
// pod with this address any more, or when ctx ends. It is for whoever is about
// to stop the pod: the endpoints leave before the processes are told to end, so
// that no request meets a closed door. A pod whose service has no other
// endpoint stays in it to the last, so callers bound their patience by ctx.
func (p *Proxy) Drained(ctx context.Context, ip netip.Addr) error {
	d := drain{ip: ip, done: make(chan struct{})}
	p.mail.Put(mailbox.Change{Object: d})
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		// The loop forgets it when the pod is gone from the services at last.
		return ctx.Err()
	}
}

// answerDrains tells those who wait for what has been applied.
func (p *Proxy) answerDrains() {
	left := p.drains[:0]
	for _, d := range p.drains {
		if p.state.Serves(d.ip) {
			left = append(left, d)
		} else {
			close(d.done)
		}
	}
	clear(p.drains[len(left):])
	p.drains = left
}
