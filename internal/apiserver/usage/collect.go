package usage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// path is where a kubelet tells what this package asks.
	path = "/metrics/resource"
	// together is how many nodes are asked at once.
	together = 32
	// patience is how long a node may take to answer.
	patience = 3 * time.Second
	// shunned is how long a node that did not answer is left alone.
	shunned = 10 * time.Second
	// maxAnswer bounds what is read of a node.
	maxAnswer = 16 << 20
)

// collector keeps the samples of nodes that somebody asked about.
type collector struct {
	kubelets Kubelets
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	nodes map[string]*observed // guarded by mu
	swept time.Time            // guarded by mu
}

// observed is one node. Its turn is taken before the other fields are touched.
type observed struct {
	turn    chan struct{} // holds one
	history history
	failed  time.Time
}

func newCollector(kubelets Kubelets, log *slog.Logger) *collector {
	return &collector{kubelets: kubelets, log: log, now: time.Now, nodes: map[string]*observed{}}
}

// histories are those of the nodes, each with a fresh sample at its end. Nodes
// that do not answer are missing.
func (c *collector) histories(ctx context.Context, nodes []string) map[string]history {
	var mu sync.Mutex
	out := make(map[string]history, len(nodes))
	var group errgroup.Group
	group.SetLimit(together)
	for _, name := range nodes {
		group.Go(func() error {
			h, err := c.history(ctx, name)
			if err != nil {
				c.log.Debug("usage of a node unknown", "node", name, "err", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			out[name] = h
			return nil
		})
	}
	_ = group.Wait() // its functions return nothing
	return out
}

func (c *collector) history(ctx context.Context, name string) (history, error) {
	node := c.node(name)
	select {
	case node.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-node.turn }()
	now := c.now()
	if _, ok := node.history.newest(now); ok && node.history.settled() {
		return node.history, nil
	}
	if now.Sub(node.failed) < shunned {
		return nil, fmt.Errorf("node %s did not answer just now", name)
	}
	for {
		s, err := c.ask(ctx, name)
		if err != nil {
			if ctx.Err() == nil {
				node.failed = c.now()
			}
			return nil, err
		}
		node.history = node.history.with(s)
		if node.history.settled() {
			return node.history, nil
		}
		select {
		case <-time.After(fresh):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *collector) ask(ctx context.Context, name string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := c.kubelets.Read(ctx, name, path)
	if err != nil {
		return sample{}, fmt.Errorf("ask node %s: %w", name, err)
	}
	defer body.Close()
	s, err := parse(io.LimitReader(body, maxAnswer), c.now())
	if err != nil {
		return sample{}, fmt.Errorf("read answer of node %s: %w", name, err)
	}
	return s, nil
}

func (c *collector) node(name string) *observed {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	n := c.nodes[name]
	if n == nil {
		n = &observed{turn: make(chan struct{}, 1)}
		c.nodes[name] = n
	}
	return n
}

// sweep forgets nodes that nobody asks about any more. The caller holds mu.
func (c *collector) sweep() {
	now := c.now()
	if now.Sub(c.swept) < 3*kept {
		return
	}
	c.swept = now
	for name, n := range c.nodes {
		select {
		case n.turn <- struct{}{}:
			idle := (len(n.history) == 0 || now.Sub(n.history[len(n.history)-1].at) > kept) && now.Sub(n.failed) > shunned
			<-n.turn
			if idle {
				delete(c.nodes, name)
			}
		default: // somebody asks right now
		}
	}
}
