// Package controllers runs all controllers beside each other.
//
// It owns the list of them and nothing else: each one lives in a package named
// after the kind it reconciles, decides in a pure plan and writes in a thin
// shell. They meet only through API objects, so any of them may be left out and
// another program do its work.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sinawi/sinawi/internal/controllers/accounttoken"
	"github.com/sinawi/sinawi/internal/controllers/attachdetach"
	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/bootstraptoken"
	"github.com/sinawi/sinawi/internal/controllers/clusterrole"
	"github.com/sinawi/sinawi/internal/controllers/cronjob"
	"github.com/sinawi/sinawi/internal/controllers/csr"
	"github.com/sinawi/sinawi/internal/controllers/daemonset"
	"github.com/sinawi/sinawi/internal/controllers/deployment"
	"github.com/sinawi/sinawi/internal/controllers/devicetaint"
	"github.com/sinawi/sinawi/internal/controllers/disruption"
	"github.com/sinawi/sinawi/internal/controllers/endpoints"
	"github.com/sinawi/sinawi/internal/controllers/endpointslice"
	"github.com/sinawi/sinawi/internal/controllers/garbagecollector"
	"github.com/sinawi/sinawi/internal/controllers/horizontalpodautoscaler"
	"github.com/sinawi/sinawi/internal/controllers/job"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/namespace"
	"github.com/sinawi/sinawi/internal/controllers/node"
	"github.com/sinawi/sinawi/internal/controllers/nodeipam"
	"github.com/sinawi/sinawi/internal/controllers/nodelifecycle"
	"github.com/sinawi/sinawi/internal/controllers/nodettl"
	"github.com/sinawi/sinawi/internal/controllers/persistentvolume"
	"github.com/sinawi/sinawi/internal/controllers/podgc"
	"github.com/sinawi/sinawi/internal/controllers/replicaset"
	"github.com/sinawi/sinawi/internal/controllers/resourcequota"
	"github.com/sinawi/sinawi/internal/controllers/rootca"
	"github.com/sinawi/sinawi/internal/controllers/serviceaccount"
	"github.com/sinawi/sinawi/internal/controllers/statefulset"
	"github.com/sinawi/sinawi/internal/controllers/tainteviction"
	"github.com/sinawi/sinawi/internal/controllers/trustbundle"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Options say what the controllers cannot learn from the API.
type Options struct {
	// Config reaches the API server for those who work on resources of any kind
	// (namespace, garbage collector).
	Config *rest.Config
	// PodCIDR is cut into the nodes' pod ranges; the zero value leaves them alone.
	PodCIDR netip.Prefix
	// ServiceCIDR is the range of service addresses.
	ServiceCIDR netip.Prefix
	// RootCA is the PEM bundle published in every namespace.
	RootCA []byte
	// Signer signs approved certificate requests; nil leaves them to others.
	Signer csr.Signer
	// AccountToken issues the tokens that are kept in secrets; nil leaves such
	// secrets empty.
	AccountToken accounttoken.Issue
	// NodeGrace is how long a node may be silent or missing before it counts as
	// lost; default 50 s and 40 s.
	NodeGrace time.Duration
	// Recorder returns the event recorder of one controller, named as events
	// name their source. Nil: all share that of the dependencies.
	Recorder func(source string) record.EventRecorder
	// Now is the clock by which unused tokens age; nil: the machine's.
	Now func() time.Time
	// Without names controllers to leave out.
	Without []string
}

// Set is all controllers.
type Set struct {
	parts []part
}

// part is one controller.
type part struct {
	name string
	run  func(context.Context) error
}

// Index tells the cache what the controllers look up by. It is called once for a
// cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	return errors.Join(workload.Index(ctx, c), backend.Index(ctx, c), persistentvolume.Index(ctx, c), attachdetach.Index(ctx, c))
}

// New returns the controllers; none runs yet.
func New(deps loop.Deps, opts Options) (*Set, error) {
	all, err := newGeneric(opts.Config)
	if err != nil {
		return nil, err
	}
	s := &Set{}
	add := func(name string, build func(loop.Deps) func(context.Context) error) {
		if slices.Contains(opts.Without, name) {
			return
		}
		own := deps
		if opts.Recorder != nil {
			own.Events = opts.Recorder(source(name))
		}
		if run := build(own); run != nil {
			s.parts = append(s.parts, part{name: name, run: run})
		}
	}
	s.workloads(add)
	if err := s.autoscaling(add, opts, all); err != nil {
		return nil, err
	}
	s.network(add)
	s.cluster(add, opts, all)
	s.identities(add, opts)
	s.nodes(add, opts)
	s.storage(add)
	return s, nil
}

// source is how events name a controller, as upstream's do.
func source(name string) string {
	switch name {
	case "disruption":
		return "controllermanager"
	case "ephemeralvolume":
		return "ephemeral_volume"
	case "resourceclaim":
		return "resource_claim"
	case "endpoints":
		return "endpoint-controller"
	case "endpointslice":
		return "endpoint-slice-controller"
	case "endpointslicemirroring":
		return "endpoint-slice-mirroring-controller"
	case "garbagecollector":
		return "garbage-collector-controller"
	case "horizontalpodautoscaler":
		return "horizontal-pod-autoscaler"
	case "nodeipam":
		return "cidrAllocator"
	case "nodelifecycle":
		return "node-controller"
	case "replicationcontroller":
		return "replication-controller"
	case "tainteviction":
		return "taint-eviction-controller"
	case "volumeexpand":
		return "volume_expand"
	}
	return name + "-controller"
}

// adder adds a controller unless it is left out. What build returns may be nil: another
// part runs it.
type adder func(name string, build func(loop.Deps) func(context.Context) error)

func (s *Set) workloads(add adder) {
	add("replicaset", func(d loop.Deps) func(context.Context) error { return replicaset.New(d).Run })
	add("replicationcontroller", func(d loop.Deps) func(context.Context) error {
		return replicaset.NewReplicationController(d).Run
	})
	add("disruption", func(d loop.Deps) func(context.Context) error { return disruption.New(d).Run })
	add("deployment", func(d loop.Deps) func(context.Context) error { return deployment.New(d).Run })
	add("job", func(d loop.Deps) func(context.Context) error { return job.New(d).Run })
	add("cronjob", func(d loop.Deps) func(context.Context) error { return cronjob.New(d).Run })
	add("daemonset", func(d loop.Deps) func(context.Context) error { return daemonset.New(d).Run })
	add("statefulset", func(d loop.Deps) func(context.Context) error { return statefulset.New(d).Run })
}

func (s *Set) autoscaling(add adder, opts Options, all generic) (err error) {
	add("horizontalpodautoscaler", func(d loop.Deps) func(context.Context) error {
		var c *horizontalpodautoscaler.Controller
		if c, err = horizontalpodautoscaler.New(d, opts.Config, all.discovery, all.mapper); err != nil {
			return nil
		}
		return c.Run
	})
	return err
}

func (s *Set) network(add adder) {
	add("endpointslice", func(d loop.Deps) func(context.Context) error { return endpointslice.New(d).Run })
	add("endpointslicemirroring", func(d loop.Deps) func(context.Context) error { return endpointslice.NewMirror(d).Run })
	add("endpoints", func(d loop.Deps) func(context.Context) error { return endpoints.New(d).Run })
}

func (s *Set) cluster(add adder, opts Options, all generic) {
	s.small(add, opts, all)
	add("namespace", func(d loop.Deps) func(context.Context) error {
		return namespace.New(d, all.discovery, all.metadata).Run
	})
	var gone func(schema.GroupVersionKind, *metav1.PartialObjectMetadata)
	add("resourcequota", func(d loop.Deps) func(context.Context) error {
		quotas := resourcequota.New(d)
		gone = quotas.Gone
		return quotas.Run
	})
	add("garbagecollector", func(d loop.Deps) func(context.Context) error {
		shared, _ := d.Cache.(garbagecollector.Sharing)
		return garbagecollector.New(all.discovery, all.metadata, d.Log, garbagecollector.Options{Gone: gone, Shared: shared, Events: d.Events}).Run
	})
	add("clusterrole", func(d loop.Deps) func(context.Context) error { return clusterrole.New(d).Run })
	add("serviceaccount", func(d loop.Deps) func(context.Context) error { return serviceaccount.New(d).Run })
	if len(opts.RootCA) > 0 {
		add("rootca", func(d loop.Deps) func(context.Context) error { return rootca.New(d, opts.RootCA).Run })
	}
}

// identities are the controllers of certificates and tokens.
func (s *Set) identities(add adder, opts Options) {
	if opts.Signer != nil {
		add("certificatesigningrequest", func(d loop.Deps) func(context.Context) error { return csr.New(d, opts.Signer).Run })
	}
	if opts.AccountToken != nil {
		add("serviceaccount-token", func(d loop.Deps) func(context.Context) error {
			return accounttoken.New(d, opts.AccountToken, opts.RootCA).Run
		})
	}
	if opts.Signer != nil && len(opts.RootCA) > 0 {
		add("clustertrustbundle", func(d loop.Deps) func(context.Context) error { return trustbundle.New(d, opts.RootCA).Run })
	}
	add("podcertificaterequest", func(d loop.Deps) func(context.Context) error { return csr.NewPodRequests(d).Run })
	add("bootstraptoken", func(d loop.Deps) func(context.Context) error { return bootstraptoken.New(d).Run })
}

func (s *Set) nodes(add adder, opts Options) {
	var parts []node.Part
	if opts.PodCIDR.IsValid() {
		add("nodeipam", func(d loop.Deps) func(context.Context) error {
			parts = append(parts, nodeipam.New(d, []netip.Prefix{opts.PodCIDR}).Part())
			return nil
		})
	}
	add("nodelifecycle", func(d loop.Deps) func(context.Context) error {
		parts = append(parts, nodelifecycle.New(d, nodelifecycle.Options{Grace: opts.NodeGrace}).Part())
		return nil
	})
	add("nodettl", func(d loop.Deps) func(context.Context) error {
		c := nodettl.New(d)
		parts = append(parts, c.Part())
		return c.Run
	})
	if len(parts) > 0 {
		add("node", func(d loop.Deps) func(context.Context) error { return node.New(d, parts).Run })
	}
	add("tainteviction", func(d loop.Deps) func(context.Context) error { return tainteviction.New(d).Run })
	add("device-taint-eviction", func(d loop.Deps) func(context.Context) error { return devicetaint.New(d).Run })
	add("podgc", func(d loop.Deps) func(context.Context) error {
		return podgc.New(d, podgc.Options{Quarantine: opts.NodeGrace}).Run
	})
}

// Run runs all controllers until ctx ends or one of them cannot go on.
func (s *Set) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range s.parts {
		group.Go(func() error {
			if err := p.run(ctx); err != nil {
				return fmt.Errorf("%s controller: %w", p.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// generic reaches resources of any kind.
type generic struct {
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
	mapper    meta.RESTMapper
}

func newGeneric(config *rest.Config) (generic, error) {
	if config == nil {
		return generic{}, errors.New("controllers: Options.Config is not set: give the configuration that Deps.Client was made of")
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return generic{}, fmt.Errorf("build discovery client: %w", err)
	}
	m, err := metadata.NewForConfig(config)
	if err != nil {
		return generic{}, fmt.Errorf("build metadata client: %w", err)
	}
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return generic{}, fmt.Errorf("build client of kinds: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, http)
	if err != nil {
		return generic{}, fmt.Errorf("build mapper of kinds: %w", err)
	}
	return generic{discovery: d, metadata: m, mapper: mapper}, nil
}
