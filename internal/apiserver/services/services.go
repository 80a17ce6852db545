// Package services gives Services what the cluster has only once: cluster
// addresses and node ports.
//
// It keeps in memory which are taken, filled from the stored services before
// the first write, and promises that no two services are ever given the same
// one and that nothing stays taken after a write failed, a service was deleted
// or its type changed. What it gives is recorded in IPAddress objects, and the
// networks that it gives from are those of the ServiceCIDR objects. One
// instance serves one API server; it hooks into the registries of the three.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/sinawi/sinawi/internal/apiserver/validation/core"
)

// Options say what there is to give; node ports default to Kubernetes' range.
type Options struct {
	// Networks hold the cluster addresses, one per family; the first is the
	// family of services that ask for none.
	Networks                    []netip.Prefix
	FirstNodePort, LastNodePort int32
	Logger                      *slog.Logger
}

// The range of node ports in every Kubernetes cluster that sets no other.
const (
	defaultFirstNodePort = 30000
	defaultLastNodePort  = 32767
)

// Allocator gives out addresses and ports.
type Allocator struct {
	network network
	log     *slog.Logger
	loaded  chan struct{} // closed when the stored services are counted
	records *records      // nil: none are kept
	freed   func()        // told when addresses become free; may be nil

	mu    sync.Mutex // guards the fields below
	ips   map[corev1.IPFamily]*networks
	kept  map[netip.Addr]bool // taken by others than services
	ports *ports
}

// New returns an allocator that waits for Load before it gives anything.
func New(opts Options) (*Allocator, error) {
	if opts.FirstNodePort == 0 && opts.LastNodePort == 0 {
		opts.FirstNodePort, opts.LastNodePort = defaultFirstNodePort, defaultLastNodePort
	}
	if opts.FirstNodePort < 1 || opts.LastNodePort > 65535 || opts.LastNodePort < opts.FirstNodePort {
		return nil, fmt.Errorf("node port range %d-%d is none: give two ports between 1 and 65535", opts.FirstNodePort, opts.LastNodePort)
	}
	a := &Allocator{
		network: network{has: map[corev1.IPFamily]bool{}},
		log:     opts.Logger,
		loaded:  make(chan struct{}),
		ips:     map[corev1.IPFamily]*networks{},
		kept:    map[netip.Addr]bool{},
		ports:   newPorts(opts.FirstNodePort, opts.LastNodePort),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for i, n := range opts.Networks {
		family := familyOf(n.Addr())
		if a.network.has[family] {
			return nil, fmt.Errorf("service network %s: there is another of %s, give one per family", n, family)
		}
		a.network.has[family] = true
		a.ips[family] = &networks{ranges: []*addresses{newAddresses(n)}}
		if i == 0 {
			a.network.main = family
		}
	}
	if len(opts.Networks) == 0 {
		return nil, errors.New("service network is missing: give at least one")
	}
	return a, nil
}

// Load counts the stored services and lets writes begin. What two services
// have both, from before, is reported and stays with them.
func (a *Allocator) Load(stored []corev1.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range stored {
		s := &stored[i]
		h := held(s)
		for ip := range h.ips {
			pool := a.ips[familyOf(ip)]
			if pool == nil {
				continue // of a family that the cluster no longer has
			}
			if err := pool.claim(ip); err != nil {
				a.log.Warn("service has an address that it should not have: delete and create it again to get another",
					"service", s.Namespace+"/"+s.Name, "address", ip.String(), "error", err)
			}
		}
		for port := range h.ports {
			if err := a.ports.claim(port); err != nil {
				a.log.Warn("service has a node port that it should not have: set another",
					"service", s.Namespace+"/"+s.Name, "port", port, "error", err)
			}
		}
	}
	close(a.loaded)
}

// Hook makes the registry of services ask a at every write.
func (a *Allocator) Hook(store *genericregistry.Store) {
	store.BeginCreate = func(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), nil, dryrun.IsDryRun(options.DryRun))
	}
	store.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		return a.begin(ctx, obj.(*corev1.Service), old.(*corev1.Service), dryrun.IsDryRun(options.DryRun))
	}
	store.AfterDelete = func(obj runtime.Object, options *metav1.DeleteOptions) {
		if options == nil || !dryrun.IsDryRun(options.DryRun) {
			a.release(context.Background(), held(obj.(*corev1.Service)))
		}
	}
}

// begin completes s with what it needs. The finish function either releases
// what s no longer has or, when the write failed, what it was newly given.
func (a *Allocator) begin(ctx context.Context, s, old *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	select {
	case <-a.loaded:
	case <-ctx.Done():
		return nil, apierrors.NewTimeoutError("service addresses are still being counted", 1)
	}
	if old != nil {
		keepAllocated(s, old)
	}
	pairClusterIPs(s, old)
	if errs := core.ServiceAddresses(s, old); len(errs) > 0 && !settled(s, old) {
		return nil, invalid(s, errs) // what is chosen next relies on them
	}
	if errs := a.network.setFamilies(s, old); len(errs) > 0 {
		return nil, invalid(s, errs)
	}
	dropInternalPolicy(s)
	before := held(old)
	given, err := a.take(ctx, s, old, before, dryRun)
	if err != nil {
		return nil, err
	}
	if dryRun {
		return func(context.Context, bool) {}, nil
	}
	return func(ctx context.Context, success bool) {
		if success {
			a.release(ctx, without(held(s), before, given))
			return
		}
		a.release(ctx, given)
	}, nil
}

// tries is how often another address is taken when one turns out to be held.
const tries = 16

// take gives s what it needs and records it; nothing of it stays taken after
// a dry run.
func (a *Allocator) take(ctx context.Context, s, old *corev1.Service, before holdings, dryRun bool) (holdings, error) {
	asked := s.Spec.DeepCopy()
	for range tries {
		given, err := a.give(s, old, before, dryRun)
		if err != nil {
			return holdings{}, err
		}
		if dryRun {
			a.forget(given)
			return holdings{}, nil
		}
		if a.records == nil {
			return given, nil
		}
		other, err := a.records.write(ctx, s, given.ips)
		if err == nil {
			return given, nil
		}
		a.forget(given)
		if !errors.Is(err, errHeld) {
			return holdings{}, apierrors.NewInternalError(err)
		}
		a.keep(other)
		s.Spec = *asked.DeepCopy()
	}
	return holdings{}, apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", errFull))
}

// without returns what of the lists is not in keep.
func without(keep holdings, lists ...holdings) holdings {
	out := held(nil)
	for _, h := range lists {
		for ip := range h.ips {
			if !keep.ips[ip] {
				out.ips[ip] = true
			}
		}
		for port := range h.ports {
			if !keep.ports[port] {
				out.ports[port] = true
			}
		}
	}
	return out
}

// release gives free what a service had: first for everybody to see, then to
// be given again.
func (a *Allocator) release(ctx context.Context, h holdings) {
	for ip := range h.ips {
		a.records.remove(ctx, ip)
	}
	a.forget(h)
	if a.freed != nil && len(h.ips) > 0 {
		a.freed()
	}
}

// forget gives free what was never recorded.
func (a *Allocator) forget(h holdings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.releaseLocked(h)
}

func (a *Allocator) releaseLocked(h holdings) {
	for ip := range h.ips {
		if pool := a.ips[familyOf(ip)]; pool != nil {
			pool.free(ip)
		}
	}
	for port := range h.ports {
		a.ports.free(port)
	}
}

func invalid(s *corev1.Service, errs field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, s.Name, errs)
}
