package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Options say what the objects hold.
type Options struct {
	// Server is where pods and other nodes reach this API server. A loopback
	// address is reachable by nobody and gives the kubernetes service no
	// endpoints.
	Server      netip.AddrPort
	ServiceCIDR netip.Prefix
	// ClientCA and ProxyCA are PEM; ProxyNames are the names by which this
	// server speaks for its users.
	ClientCA, ProxyCA []byte
	ProxyNames        []string
}

// Keeper makes the objects and keeps those that must not be missing.
type Keeper struct {
	client kubernetes.Interface
	feed   *feed.Feed
	log    *slog.Logger
	o      Options
}

// Extension plugs a Keeper into a server.
func Extension(o Options) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		k := &Keeper{client: h.Client, feed: h.Feed, log: h.Log, o: o}
		return plug.Additions{Hooks: []plug.Hook{
			{Name: "bootstrap", Start: k.Make, Run: k.Keep, Checks: []string{
				"poststarthook/start-system-namespaces-controller",
				"poststarthook/start-cluster-authentication-info-controller",
				"poststarthook/start-legacy-token-tracking-controller",
				"poststarthook/scheduling/bootstrap-system-priority-classes",
				"poststarthook/priority-and-fairness-config-producer",
				"poststarthook/bootstrap-controller",
				"poststarthook/start-kubernetes-service-cidr-controller",
			}},
			{Name: "queues", Run: func(ctx context.Context) error { return k.queues(ctx, h.Loopback) }},
		}}, nil
	}
}

// Make makes what is missing.
func (k *Keeper) Make(ctx context.Context) error {
	namespaces, nsCtx := errgroup.WithContext(ctx)
	for _, kept := range k.namespaces() {
		namespaces.Go(func() error { return kept.ensure(nsCtx) })
	}
	if err := namespaces.Wait(); err != nil {
		return err
	}
	rest, ctx := errgroup.WithContext(ctx)
	for _, kept := range k.kept() {
		rest.Go(func() error { return kept.ensure(ctx) })
	}
	rest.Go(func() error { return k.flowControl(ctx) })
	rest.Go(func() error { return k.network(ctx) })
	for _, class := range priorityClasses() {
		rest.Go(func() error {
			return ensure(ctx, k.client.SchedulingV1().PriorityClasses(), class, nil)
		})
	}
	return rest.Wait()
}

// kept is an object that must not be missing.
type kept struct {
	resource        schema.GroupResource
	namespace, name string
	ensure          func(context.Context) error
}

func (k *Keeper) namespaces() []kept {
	var out []kept
	for _, name := range systemNamespaces() {
		out = append(out, kept{corev1.Resource("namespaces"), "", name, func(ctx context.Context) error {
			return ensure(ctx, k.client.CoreV1().Namespaces(), namespace(name), nil)
		}})
	}
	return out
}

// kept are the objects besides namespaces.
func (k *Keeper) kept() []kept {
	core, port := k.client.CoreV1(), int32(k.o.Server.Port())
	out := []kept{
		{corev1.Resource("services"), metav1.NamespaceDefault, serviceName, func(ctx context.Context) error {
			want := kubernetesService(k.o.ServiceCIDR.Masked().Addr().Next(), port)
			return ensure(ctx, core.Services(want.Namespace), want, func(have *corev1.Service) {
				have.Spec.Ports, have.Spec.Type = want.Spec.Ports, want.Spec.Type
			})
		}},
		{corev1.Resource("configmaps"), metav1.NamespaceSystem, "extension-apiserver-authentication", func(ctx context.Context) error {
			want := extensionTrust(k.o.ClientCA, k.o.ProxyCA, k.o.ProxyNames)
			return ensure(ctx, core.ConfigMaps(want.Namespace), want, func(have *corev1.ConfigMap) {
				have.Data = with(have.Data, want.Data)
			})
		}},
		k.tracking(),
	}
	if k.o.Server.Addr().IsLoopback() {
		return out
	}
	return append(out,
		kept{corev1.Resource("configmaps"), metav1.NamespacePublic, "cluster-info", func(ctx context.Context) error {
			want, err := clusterInfo(k.o.Server, k.o.ClientCA)
			if err != nil {
				return err
			}
			return ensure(ctx, core.ConfigMaps(want.Namespace), want, func(have *corev1.ConfigMap) {
				have.Data = with(have.Data, want.Data)
			})
		}},
		kept{corev1.Resource("endpoints"), metav1.NamespaceDefault, serviceName, func(ctx context.Context) error {
			want := kubernetesEndpoints(k.o.Server.Addr(), port)
			//lint:ignore SA1019 clients still read the older form
			return ensure(ctx, core.Endpoints(want.Namespace), want, func(have *corev1.Endpoints) {
				have.Subsets = want.Subsets
				have.Labels = with(have.Labels, want.Labels)
			})
		}},
		kept{schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, metav1.NamespaceDefault, serviceName, func(ctx context.Context) error {
			want := kubernetesSlice(k.o.Server.Addr(), port)
			return ensure(ctx, k.client.DiscoveryV1().EndpointSlices(want.Namespace), want, func(have *discoveryv1.EndpointSlice) {
				have.Endpoints, have.Ports = want.Endpoints, want.Ports
				have.Labels = with(have.Labels, want.Labels)
			})
		}},
	)
}

func (k *Keeper) tracking() kept {
	name := tokenTracking("").Name
	return kept{corev1.Resource("configmaps"), metav1.NamespaceSystem, name, func(ctx context.Context) error {
		want := tokenTracking(time.Now().UTC().Format(time.DateOnly))
		return ensure(ctx, k.client.CoreV1().ConfigMaps(want.Namespace), want, func(have *corev1.ConfigMap) {
			if !isDay(have.Data[trackedSince]) {
				have.Data = with(have.Data, want.Data)
			}
		})
	}}
}

func with(have, more map[string]string) map[string]string {
	if have == nil {
		have = map[string]string{}
	}
	maps.Copy(have, more)
	return have
}

// networkOwner is who says that the network is ready, by upstream's name.
const networkOwner = "kubernetes-service-cidr-controller"

// network records the network from which services get their addresses.
func (k *Keeper) network(ctx context.Context) error {
	api := k.client.NetworkingV1().ServiceCIDRs()
	want := serviceNetwork(k.o.ServiceCIDR)
	if err := ensure(ctx, api, want, nil); err != nil {
		return err
	}
	have, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the service network: %w", err)
	}
	if apimeta.IsStatusConditionTrue(have.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
		return nil
	}
	// Applied, so that the condition has an owner of its own.
	ready := networkingv1ac.ServiceCIDR(want.Name).WithStatus(networkingv1ac.ServiceCIDRStatus().WithConditions(
		metav1ac.Condition().WithType(networkingv1.ServiceCIDRConditionReady).WithStatus(metav1.ConditionTrue).
			WithMessage("Kubernetes default Service CIDR is ready").WithLastTransitionTime(metav1.Now())))
	if _, err := api.ApplyStatus(ctx, ready, metav1.ApplyOptions{FieldManager: networkOwner, Force: true}); err != nil {
		return fmt.Errorf("mark the service network ready: %w", err)
	}
	return nil
}

// Keep puts back what was removed or changed, until ctx ends.
func (k *Keeper) Keep(ctx context.Context) error {
	byResource := map[schema.GroupResource]map[[2]string]kept{}
	for _, o := range append(k.namespaces(), k.kept()...) {
		if byResource[o.resource] == nil {
			byResource[o.resource] = map[[2]string]kept{}
		}
		byResource[o.resource][[2]string{o.namespace, o.name}] = o
	}
	group, ctx := errgroup.WithContext(ctx)
	for resource, objects := range byResource {
		group.Go(func() error { return k.follow(ctx, resource, objects) })
	}
	return group.Wait()
}

func (k *Keeper) follow(ctx context.Context, resource schema.GroupResource, objects map[[2]string]kept) error {
	err := k.feed.Log(resource).Follow(ctx, func(c feed.Change) error {
		if c.Object == nil || c.Type == feed.Added {
			return nil
		}
		m, err := apimeta.Accessor(c.Object)
		if err != nil {
			return err
		}
		if o, ok := objects[[2]string{m.GetNamespace(), m.GetName()}]; ok {
			k.restore(ctx, o)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Between two attempts at putting an object back.
const (
	retryAfter = 500 * time.Millisecond
	maxRetries = 20
)

// restore tries for a while: a namespace that is going away takes its time.
func (k *Keeper) restore(ctx context.Context, o kept) {
	var err error
	for range maxRetries {
		if err = o.ensure(ctx); err == nil || ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return
		}
	}
	if !errors.Is(err, context.Canceled) {
		k.log.Warn("object not put back", "resource", o.resource.String(), "namespace", o.namespace, "name", o.name, "err", err)
	}
}
