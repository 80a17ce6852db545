package hollow

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// Options of a fleet; the zero value of a field is its default.
type Options struct {
	Nodes  int
	Prefix string // of the nodes' names; default hollow
	Zones  int    // over how many zones they are spread; default 3
	CPU    string // of each node; default 32
	Memory string // default 64Gi
	Pods   int    // most pods on a node; default 110

	Lease   time.Duration // between two renewals; default 10 s, a kubelet's
	Report  time.Duration // between two status reports; default 5 min, a kubelet's
	Writers int           // requests for pods under way at once, as many for statuses, and 16 times as many for leases; default 16

	// Still leaves pods as they are: bound, never said to run.
	Still bool
	// Observe is told of every change of every pod, by one goroutine. Optional.
	Observe func(pod *corev1.Pod, deleted bool)
}

// Fleet is a number of simulated nodes.
type Fleet struct {
	opts   Options
	client kubernetes.Interface
	nodes  []*node
	byName map[string]*node

	// A node's lease does not wait for the statuses and pods of others: each has its writers.
	leases, reports, jobs *mailbox.Mailbox[job]
	failed                atomic.Int64 // writes that did not work
	fit                   atomic.Int64 // nodes
	changed               atomic.Int64 // when a node was last wanted otherwise, in ns

	mu    sync.Mutex
	stage map[types.UID]stage // guarded by mu
}

// stage is how far the fleet has brought a pod.
type stage int

const (
	running stage = iota + 1
	ending
)

// node is one simulated node.
type node struct {
	name    string
	number  int
	version string      // resource version of its lease
	there   atomic.Bool // it is registered
	pending atomic.Bool // its lease is waiting to be renewed
	asked   atomic.Bool // its status is waiting to be reported
	dead    atomic.Bool // somebody says that it is not ready
	fit     bool        // for pods; the watch of nodes alone touches it
	wanted  string      // of the node; the same
}

// New returns a fleet that works through config, whose user must be allowed to
// impersonate.
func New(config *rest.Config, opts Options) (*Fleet, error) {
	opts.complete()
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf
	config.UserAgent = "kubelet/hollow"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect hollow nodes: %w", err)
	}
	f := &Fleet{opts: opts, client: client, byName: map[string]*node{},
		leases: mailbox.New[job](), reports: mailbox.New[job](), jobs: mailbox.New[job](), stage: map[types.UID]stage{}}
	for i := range opts.Nodes {
		n := &node{name: fmt.Sprintf("%s-%d", opts.Prefix, i), number: i}
		f.nodes = append(f.nodes, n)
		f.byName[n.name] = n
	}
	return f, nil
}

func (o *Options) complete() {
	o.Prefix, o.CPU, o.Memory = cmp.Or(o.Prefix, "hollow"), cmp.Or(o.CPU, "32"), cmp.Or(o.Memory, "64Gi")
	o.Zones, o.Pods, o.Writers = cmp.Or(o.Zones, 3), cmp.Or(o.Pods, 110), cmp.Or(o.Writers, 16)
	o.Lease, o.Report = cmp.Or(o.Lease, 10*time.Second), cmp.Or(o.Report, 5*time.Minute)
}

// Fit is how many nodes were last seen to be fit for pods: without taints, with addresses
// for pods.
func (f *Fleet) Fit() int { return int(f.fit.Load()) }

// Quiet is for how long nobody has wanted nodes to be otherwise.
func (f *Fleet) Quiet() time.Duration { return time.Since(time.Unix(0, f.changed.Load())) }

// Failed is how many writes did not work so far.
func (f *Fleet) Failed() int64 { return f.failed.Load() }

// Register makes all Node objects and their first leases. A node lives from then on if
// the fleet is run meanwhile: where there are many, the first would be taken for dead
// before the last is there.
func (f *Fleet) Register(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.opts.Writers)
	for _, n := range f.nodes {
		g.Go(func() error {
			if err := f.create(ctx, n); err != nil {
				return fmt.Errorf("register %s: %w", n.name, err)
			}
			n.there.Store(true)
			return nil
		})
	}
	return g.Wait()
}

// Run keeps the nodes alive and their pods running until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, lane := range []struct {
		from    *mailbox.Mailbox[job]
		writers int
	}{{f.leases, 16 * f.opts.Writers}, {f.reports, f.opts.Writers}, {f.jobs, f.opts.Writers}} {
		work := make(chan job)
		for range lane.writers {
			g.Go(func() error { return f.write(ctx, work) })
		}
		g.Go(func() error { return hand(ctx, lane.from, work) })
	}
	g.Go(func() error { return f.turn(ctx) })
	g.Go(func() error { return f.follow(ctx, "pods", &corev1.Pod{}, f.see) })
	g.Go(func() error { return f.follow(ctx, "nodes", &corev1.Node{}, f.look) })
	return g.Wait()
}

// hand gives the jobs to the writers, in order.
func hand(ctx context.Context, from *mailbox.Mailbox[job], work chan<- job) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-from.Ready():
		}
		for _, j := range from.Take() {
			select {
			case work <- j:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (f *Fleet) write(ctx context.Context, work <-chan job) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-work:
			if err := f.do(ctx, j); err != nil && ctx.Err() == nil {
				f.failed.Add(1)
			}
		}
	}
}
