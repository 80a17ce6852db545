package aggregate

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apiserver"
	"k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/kube-aggregator/pkg/client/informers/externalversions"
	listers "k8s.io/kube-aggregator/pkg/client/listers/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/registry/apiservice/etcd"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
)

// Custom tells of the groups of custom resources.
type Custom interface {
	Groups() map[string][]string // versions by group
	Changed() <-chan struct{}
}

// Options of the aggregation.
type Options struct {
	// CertPEM and KeyPEM are the certificate by which other servers know that
	// this one may speak for its users.
	CertPEM, KeyPEM []byte
	Services        Resolver
	Custom          Custom
}

// Aggregator is all that concerns other API servers.
type Aggregator struct {
	host      *plug.Host
	o         Options
	client    clientset.Interface
	informers externalversions.SharedInformerFactory
	objects   listers.APIServiceLister
	documents apiserver.DiscoveryAggregationController
	built     []schema.GroupVersion // served here from the start
	changed   chan struct{}         // holds one

	// any says that there are other servers, so that without them requests do
	// not pay for looking.
	any atomic.Bool

	mu      sync.RWMutex
	servers map[string]*server // guarded by mu; by name of the APIService
}

// New plugs other API servers into h.
func New(h *plug.Host, o Options) (*Aggregator, plug.Additions, error) {
	config := clientrest.CopyConfig(h.Loopback)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, plug.Additions{}, fmt.Errorf("client of API services: %w", err)
	}
	a := &Aggregator{
		host: h, o: o, client: client, informers: externalversions.NewSharedInformerFactory(client, 0),
		documents: apiserver.NewDiscoveryManager(h.Resources.WithSource(aggregated.AggregatorSource)),
		changed:   make(chan struct{}, 1),
		servers:   map[string]*server{},
	}
	informer := a.informers.Apiregistration().V1().APIServices()
	a.objects = informer.Lister()
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.see(obj, false) },
		UpdateFunc: func(_, obj any) { a.see(obj, false) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			a.see(obj, true)
		},
	})
	if err != nil {
		return nil, plug.Additions{}, err
	}
	main := etcd.NewREST(scheme.Scheme, options{h.Backend})
	return a, plug.Additions{
		APIGroups: []plug.Group{{
			GroupVersion: apiregistrationv1.SchemeGroupVersion,
			Scheme:       scheme.Scheme,
			Codecs:       scheme.Codecs,
			Storage: map[string]rest.Storage{
				"apiservices":        main,
				"apiservices/status": etcd.NewStatusREST(scheme.Scheme, main),
			},
		}},
		Front:    func(next http.Handler) http.Handler { return a.listGroups(a.replace(next)) },
		Fallback: a.route,
		Hooks: []plug.Hook{{Name: "aggregation", Start: a.start, Run: a.keep, Checks: []string{
			"poststarthook/start-kube-aggregator-informers",
			"poststarthook/apiservice-status-local-available-controller",
			"poststarthook/apiservice-status-remote-available-controller",
			"poststarthook/apiservice-registration-controller",
			"poststarthook/apiservice-discovery-controller",
			"poststarthook/kube-apiserver-autoregistration",
			"autoregister-completion",
			"poststarthook/apiservice-openapi-controller",
			"poststarthook/apiservice-openapiv3-controller",
		}}},
	}, nil
}

// options say how APIServices are stored: as JSON in version v1.
type options struct{ backend *storage.Backend }

func (o options) GetRESTOptions(schema.GroupResource, runtime.Object) (generic.RESTOptions, error) {
	return o.backend.ForCustomResources(Storage(), scheme.Codecs.LegacyCodec(apiregistrationv1.SchemeGroupVersion)), nil
}

// Storage says where APIServices are stored.
func Storage() storage.Resource {
	resource := apiregistrationv1.Resource("apiservices")
	return storage.Resource{
		GroupResource: resource,
		Version:       apiregistrationv1.SchemeGroupVersion,
		KeyPrefix:     resource.Group + "/" + resource.Resource,
	}
}

// see takes over one APIService.
func (a *Aggregator) see(obj any, gone bool) {
	o, ok := obj.(*apiregistrationv1.APIService)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.wake()
	defer func() { a.any.Store(len(a.servers) != 0) }()
	before := a.servers[o.Name]
	if gone || o.Spec.Service == nil {
		if before != nil {
			delete(a.servers, o.Name)
			a.documents.RemoveAPIService(o.Name)
			a.publishGroup(o.Spec.Group)
		}
		return
	}
	if before != nil && before.object.Generation == o.Generation && before.object.UID == o.UID {
		return // its status is our own word
	}
	s, err := newServer(o, a.o.CertPEM, a.o.KeyPEM, a.o.Services)
	if err != nil {
		a.host.Log.Warn("API service not usable", "name", o.Name, "err", err)
		return
	}
	a.servers[o.Name] = s
	a.documents.AddAPIService(o, http.HandlerFunc(s.pass))
	a.publishGroup(o.Spec.Group)
}

func (a *Aggregator) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// start fills the informer, whose goroutines end with ctx.
func (a *Aggregator) start(ctx context.Context) error {
	a.built = a.builtIn(ctx)
	for _, gv := range a.built {
		place := priorities(local{GroupVersion: gv})
		if gv.Group != "" {
			a.host.Resources.SetGroupVersionPriority(metaGroupVersion(gv), int(place.group), int(place.version))
		}
	}
	a.informers.StartWithContext(ctx)
	return a.informers.WaitForCacheSyncWithContext(ctx).AsError()
}
