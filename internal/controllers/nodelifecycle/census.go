package nodelifecycle

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// excluded is the label of nodes that say nothing of how their zone is.
const excluded = "node.kubernetes.io/exclude-disruption"

// census counts the nodes of each zone, so that judging one costs the same however
// many there are. It is safe for concurrent use.
type census struct {
	mu    sync.Mutex
	nodes map[string]place // guarded by mu
	zones map[string]*ward // guarded by mu; without empty ones
	all   tally            // guarded by mu; of all zones
}

// place is what is known of a node.
type place struct {
	zone     string
	ready    bool
	excluded bool
}

// ward is one zone: how many nodes count, and which are not ready, counted or not.
type ward struct {
	tally
	unready map[string]struct{}
}

func placeOf(node *corev1.Node) place {
	_, apart := node.Labels[excluded]
	return place{zone(node), readiness(node) == corev1.ConditionTrue, apart}
}

func newCensus() *census { return &census{nodes: map[string]place{}, zones: map[string]*ward{}} }

// note counts a node as it is now. It returns the nodes that are not ready and
// may now be evicted at another pace.
func (c *census) note(node *corev1.Node) []string {
	now := placeOf(node)
	c.mu.Lock()
	defer c.mu.Unlock()
	was, known := c.nodes[node.Name]
	if known && was == now {
		return nil
	}
	return c.changed(func() {
		if known {
			c.count(node.Name, was, -1)
		}
		c.nodes[node.Name] = now
		c.count(node.Name, now, 1)
	}, was.zone, now.zone)
}

// forget no longer counts a node; it returns what note does.
func (c *census) forget(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, known := c.nodes[name]
	if !known {
		return nil
	}
	return c.changed(func() {
		delete(c.nodes, name)
		c.count(name, was, -1)
	}, was.zone)
}

// changed makes a change that touches zones, and compares. The caller holds mu.
func (c *census) changed(change func(), zones ...string) []string {
	well := c.well()
	before := make([]time.Duration, len(zones))
	for i, zone := range zones {
		before[i] = c.gap(zone)
	}
	change()
	var names []string
	if well != c.well() {
		for _, w := range c.zones {
			names = w.list(names)
		}
		return names
	}
	for i, zone := range zones {
		if w := c.zones[zone]; w != nil && before[i] != c.gap(zone) && !slices.Contains(zones[:i], zone) {
			names = w.list(names)
		}
	}
	return names
}

func (w *ward) list(names []string) []string {
	for name := range w.unready {
		names = append(names, name)
	}
	return names
}

// count is called with mu held.
func (c *census) count(name string, p place, by int) {
	w := c.zones[p.zone]
	if w == nil {
		w = &ward{unready: map[string]struct{}{}}
		c.zones[p.zone] = w
	}
	switch {
	case p.ready:
	case by > 0:
		w.unready[name] = struct{}{}
	default:
		delete(w.unready, name)
	}
	if !p.excluded {
		w.add(p.ready, by)
		c.all.add(p.ready, by)
	}
	if w.tally == (tally{}) && len(w.unready) == 0 {
		delete(c.zones, p.zone)
	}
}

// well says that some node is ready, or that none counts. It is called with mu held.
func (c *census) well() bool { return c.all.ready > 0 || c.all == (tally{}) }

// gap is called with mu held.
func (c *census) gap(zone string) time.Duration {
	if w := c.zones[zone]; w != nil {
		return w.pace()
	}
	return tally{}.pace()
}

// pace says how long to wait between evicting nodes of the node's zone; ever is
// false if no node anywhere is well. It is not current if the node was last
// counted otherwise than it is given.
func (c *census) pace(node *corev1.Node) (gap time.Duration, ever, current bool) {
	at := placeOf(node)
	c.mu.Lock()
	defer c.mu.Unlock()
	known, counted := c.nodes[node.Name]
	return c.gap(at.zone), c.well(), counted && known == at
}
