package hollow

import (
	"context"
	"time"
)

// spokes is into how many parts the time between two leases is cut.
const spokes = 100

// turn says whose lease and whose status is due. Nodes are dealt over the
// wheel's spokes, so that load is even.
func (f *Fleet) turn(ctx context.Context) error {
	tick := time.NewTicker(f.opts.Lease / spokes)
	defer tick.Stop()
	rounds := max(int(f.opts.Report/f.opts.Lease), 1)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		round := i / spokes
		for n := i % spokes; n < len(f.nodes); n += spokes {
			node := f.nodes[n]
			if !node.there.Load() {
				continue
			}
			// What is still waiting is not sent twice.
			if node.pending.CompareAndSwap(false, true) {
				f.leases.Put(job{node: node, what: renew})
			}
			if (round+n)%rounds == rounds-1 {
				f.tell(node)
			}
		}
	}
}

// tell has a node report its status.
func (f *Fleet) tell(n *node) {
	if n.asked.CompareAndSwap(false, true) {
		f.reports.Put(job{node: n, what: report})
	}
}
