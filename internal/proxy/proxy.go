package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/proxy/apply"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// Redirect leads a service's address to a server on this node.
type Redirect = compile.Redirect

// Options say which node the proxy works for.
type Options struct {
	// Instance is the instance's name; see podnet.NamesOf.
	Instance string
	// NodeName is how endpoints name this node.
	NodeName string
	// Zone is the node's topology zone, if it has one.
	Zone string
	// PodCIDR is this node's range, ClusterCIDR that of all pods.
	PodCIDR, ClusterCIDR netip.Prefix
	// ServiceCIDR has all service addresses.
	ServiceCIDR netip.Prefix
	// Redirects are services that this node serves itself, as the cluster's DNS.
	Redirects []Redirect
	Log       *slog.Logger
}

func (o Options) validate() error {
	for name, p := range map[string]netip.Prefix{"pod": o.PodCIDR, "cluster": o.ClusterCIDR, "service": o.ServiceCIDR} {
		if !p.Addr().Is4() {
			return fmt.Errorf("proxy: the %s range %s must be IPv4", name, p)
		}
	}
	if o.Instance == "" || o.NodeName == "" {
		return errors.New("proxy: instance and node name are required")
	}
	return nil
}

// Proxy is one node's. Make it with New and run it once.
type Proxy struct {
	cache cache.Cache
	o     Options
	log   *slog.Logger
	mail  *mailbox.Mailbox[mailbox.Change]
	// The loop alone uses what follows.
	state  *compile.State
	drains []drain
}

// New returns a proxy that reads from c.
func New(c cache.Cache, o Options) (*Proxy, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &Proxy{cache: c, o: o, log: o.Log, mail: mailbox.New[mailbox.Change](), state: compile.New(compile.Place{Node: o.NodeName, Zone: o.Zone}, o.Redirects...)}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p, nil
}

// Purge removes what proxies of the instance left in the kernel.
func Purge(instance string) error { return apply.Purge(podnet.NamesOf(instance).ServiceTable) }

// Run keeps services working until ctx ends, and leaves them as they are then.
func (p *Proxy) Run(ctx context.Context) error {
	names := podnet.NamesOf(p.o.Instance)
	table, err := apply.Open(apply.Options{
		Table: names.ServiceTable, ClusterCIDR: p.o.ClusterCIDR, ServiceCIDR: p.o.ServiceCIDR,
		Gateway: ipam.Gateway(p.o.PodCIDR), PodLinks: names.VethPrefix,
	})
	if err != nil {
		return err
	}
	defer table.Close()
	stop, err := p.watch(ctx)
	defer stop()
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	health := newHealth(p.log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return health.run(ctx) })
	g.Go(func() error { return p.loop(ctx, table, health) })
	return g.Wait()
}

// watch makes every change a letter and returns when all that exists has been
// delivered: a table made from less would cut services off. The function it
// returns ends the watch.
func (p *Proxy) watch(ctx context.Context) (stop func(), err error) {
	var synced []toolscache.DoneChecker
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, kind := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}} {
		informer, err := p.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return stop, fmt.Errorf("watch %T: %w", kind, err)
		}
		handler, err := informer.AddEventHandler(mailbox.Handler(p.mail))
		if err != nil {
			return stop, fmt.Errorf("watch %T: %w", kind, err)
		}
		stops = append(stops, func() { _ = informer.RemoveEventHandler(handler) })
		synced = append(synced, handler.HasSyncedChecker())
	}
	if !toolscache.WaitFor(ctx, "", synced...) {
		return stop, ctx.Err()
	}
	return stop, nil
}

const (
	// breath is the least time between transactions: under a flood of changes
	// more of them go together.
	breath   = 5 * time.Millisecond
	firstTry = 200 * time.Millisecond
	lastTry  = 30 * time.Second
)

// loop applies what comes. After an error it sets the whole table right again,
// ever more slowly.
func (p *Proxy) loop(ctx context.Context, table *apply.Table, health *health) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	whole, wait := true, firstTry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		if !whole {
			select {
			case <-ctx.Done():
				return nil
			case <-p.mail.Ready():
			}
		}
		p.read()
		err := p.apply(table, whole)
		health.want(p.state.Health())
		next := breath
		switch {
		case err == nil:
			whole, wait = false, firstTry
			p.answerDrains()
		case whole:
			next, wait = wait, min(2*wait, lastTry)
			p.log.Error("services are not as they should be on this node", "err", err, "again", next)
		default:
			whole = true
			p.log.Warn("setting all services anew", "err", err)
		}
		pause.Reset(next)
	}
}

func (p *Proxy) read() {
	for _, l := range p.mail.Take() {
		switch o := l.Object.(type) {
		case *corev1.Service:
			if l.Deleted {
				p.state.DeleteService(types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
			} else {
				p.state.SetService(o)
			}
		case *discoveryv1.EndpointSlice:
			if l.Deleted {
				p.state.DeleteSlice(o)
			} else {
				p.state.SetSlice(o)
			}
		case drain:
			p.drains = append(p.drains, o)
		}
	}
}

func (p *Proxy) apply(table *apply.Table, whole bool) error {
	d := p.state.Changes()
	if whole {
		started := time.Now()
		all := p.state.Elements()
		if err := table.Sync(all); err != nil {
			return err
		}
		p.log.Info("services are set", "elements", len(all), "took", time.Since(started))
		return apply.DropFlows(p.state.Flows())
	}
	if len(d.Add) > 0 || len(d.Delete) > 0 {
		if err := table.Apply(d); err != nil {
			return err
		}
		p.log.Debug("services changed", "added", len(d.Add), "removed", len(d.Delete))
	}
	return apply.DropFlows(d.Flows)
}
