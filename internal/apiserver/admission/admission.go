// Package admission decides what shall be of a write: it joins the plugins that
// fill in and refuse into one chain, in upstream's order, with upstream's
// default set and NodeRestriction.
//
// Each plugin of our own is a package below this one and reads through lookup;
// webhooks and policies are those of k8s.io/apiserver. What works in the
// background belongs to the Hooks, not to New.
package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"

	"github.com/sinawi/sinawi/internal/apiserver/admission/certificates"
	"github.com/sinawi/sinawi/internal/apiserver/admission/deviceaccess"
	"github.com/sinawi/sinawi/internal/apiserver/admission/ingressclass"
	"github.com/sinawi/sinawi/internal/apiserver/admission/limits"
	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
	"github.com/sinawi/sinawi/internal/apiserver/admission/nodefeatures"
	"github.com/sinawi/sinawi/internal/apiserver/admission/noderestriction"
	"github.com/sinawi/sinawi/internal/apiserver/admission/nodetaint"
	"github.com/sinawi/sinawi/internal/apiserver/admission/optional"
	"github.com/sinawi/sinawi/internal/apiserver/admission/ownerrefs"
	"github.com/sinawi/sinawi/internal/apiserver/admission/podpriority"
	"github.com/sinawi/sinawi/internal/apiserver/admission/podsecurity"
	"github.com/sinawi/sinawi/internal/apiserver/admission/runtimeclass"
	"github.com/sinawi/sinawi/internal/apiserver/admission/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/admission/tolerations"
	"github.com/sinawi/sinawi/internal/apiserver/admission/topology"
	"github.com/sinawi/sinawi/internal/apiserver/admission/volumes"
	"github.com/sinawi/sinawi/internal/apiserver/authz/rbac"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/serviceurl"
	"github.com/sinawi/sinawi/internal/quota"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Chain is the admission of one server. It must show both of its halves: the
// handlers look for them.
type Chain struct {
	halves
	// Hooks start what the chain needs in the background.
	Hooks []plug.Hook

	asked  asked
	labels *topology.Plugin // of a pod's node; nil when that is off
}

// halves is what fills in and what refuses.
type halves interface {
	admission.MutationInterface
	admission.ValidationInterface
}

// Bound does for a pod that gets its node while it is stored what the chain's own plugins
// do when a pod is bound.
func (c *Chain) Bound(ctx context.Context, pod admission.Attributes) error {
	if c.labels == nil {
		return nil
	}
	return c.labels.Admit(ctx, pod, nil)
}

// named is a plugin with the name that upstream knows it by.
type named struct {
	name   string
	plugin admission.Interface
}

// New builds the chain. roles is asked whether who writes a role holds what he
// would give away.
func New(h *plug.Host, roles *rbac.Authorizer, o Options) (*Chain, error) {
	if o.Services == nil {
		o.Services = serviceurl.New(Source(h))
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	settings, err := o.settings()
	if err != nil {
		return nil, err
	}
	plugins, err := own(h, roles, settings)
	if err != nil {
		return nil, err
	}
	policies, err := newPolicies(h)
	if err != nil {
		return nil, err
	}
	late, err := last(policies, settings)
	if err != nil {
		return nil, err
	}
	plugins = slices.DeleteFunc(append(plugins, late...), func(p named) bool { return !o.wants(p.name) })
	chain, err := join(h, plugins, o, policies.stop)
	if err != nil {
		return nil, err
	}
	asked, err := newAsked(h, policies, settings)
	if err != nil {
		return nil, err
	}
	out := &Chain{halves: chain, Hooks: policies.hooks(), asked: asked}
	if o.wants(topologyLabels) {
		out.labels = topology.New(Source(h))
	}
	return out, nil
}

// last returns the plugins that come when the others have filled in theirs.
func last(policies *policies, settings func(string) (io.Reader, error)) ([]named, error) {
	mutating, validating, err := hooks(policies.host, settings)
	if err != nil {
		return nil, err
	}
	config, err := settings(resourcequota.PluginName)
	if err != nil {
		return nil, err
	}
	limited, err := resourcequota.LoadConfiguration(config)
	if err != nil {
		return nil, fmt.Errorf("resource quota: %w", err)
	}
	quotas, err := resourcequota.NewResourceQuota(limited, quotaWorkers)
	if err != nil {
		return nil, fmt.Errorf("resource quota: %w", err)
	}
	return []named{
		{mutatingpolicy.PluginName, policies.mutating},
		{mutatingwebhook.PluginName, mutating},
		{validatingpolicy.PluginName, policies.validating},
		{validatingwebhook.PluginName, validating},
		{resourcequota.PluginName, quotas}, // it charges for what all others let pass
	}, nil
}

// own returns the plugins that come before webhooks and policies.
func own(h *plug.Host, roles *rbac.Authorizer, settings func(string) (io.Reader, error)) ([]named, error) {
	source := Source(h)
	namespaces, err := lifecycle.NewLifecycle(immortal())
	if err != nil {
		return nil, fmt.Errorf("namespace lifecycle: %w", err)
	}
	levels, err := settings("PodSecurity")
	if err != nil {
		return nil, err
	}
	security, err := podsecurity.New(source, levels)
	if err != nil {
		return nil, err
	}
	return []named{
		{lifecycle.PluginName, namespaces},
		{"LimitRanger", limits.New(source)},
		{"ServiceAccount", serviceaccount.New(source)},
		{"NodeRestriction", noderestriction.New(source, h.Authorizer)},
		{"TaintNodesByCondition", nodetaint.New()},
		{alwaysPullImages, optional.NewAlwaysPullImages()},
		{"PodSecurity", security},
		{"Priority", podpriority.New(source)},
		{"DefaultTolerationSeconds", tolerations.New()},
		{extendedResourceToleration, optional.NewExtendedResourceToleration()},
		{"DefaultStorageClass", volumes.NewDefaultClass(source)},
		{"StorageObjectInUseProtection", volumes.NewProtection()},
		{ownerReferences, ownerrefs.New(h.Authorizer, h.Mapper)},
		{"PersistentVolumeClaimResize", volumes.NewResize(source)},
		{"RuntimeClass", runtimeclass.New(source)},
		{"CertificateApproval", certificates.NewApproval(h.Authorizer)},
		{"CertificateSigning", certificates.NewSigning(h.Authorizer)},
		{"ClusterTrustBundleAttest", certificates.NewAttest(h.Authorizer)},
		{"CertificateSubjectRestriction", certificates.NewSubject()},
		{"DefaultIngressClass", ingressclass.New(source)},
		{denyExternalIPs, optional.NewDenyServiceExternalIPs()},
		{topologyLabels, topology.New(source)},
		{"NodeDeclaredFeatureValidator", nodefeatures.New(source)},
		// Upstream checks this in the storage of roles and bindings.
		{roleEscalation, rbac.NewEscalation(roles, h.Authorizer)},
		// And these in that of claims and their templates, and of pods' certificates.
		{deviceAccess, deviceaccess.New(source, h.Authorizer)},
		{podSigning, certificates.NewPodSigning(h.Authorizer)},
	}, nil
}

// Plugins that are off unless asked for, and those that are no plugins upstream.
const (
	alwaysPullImages           = "AlwaysPullImages"
	extendedResourceToleration = "ExtendedResourceToleration"
	ownerReferences            = "OwnerReferencesPermissionEnforcement"
	denyExternalIPs            = "DenyServiceExternalIPs"

	roleEscalation = "RoleEscalation"
	deviceAccess   = "DeviceAccess"
	podSigning     = "PodCertificateSigning"

	topologyLabels = "PodTopologyLabels"
)

func offByDefault() []string {
	return []string{alwaysPullImages, extendedResourceToleration, ownerReferences, denyExternalIPs}
}

// names are those by which administrators know the plugins.
func names() []string {
	return append(offByDefault(),
		lifecycle.PluginName, "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "PodSecurity",
		"Priority", "DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection",
		"PersistentVolumeClaimResize", "RuntimeClass", "CertificateApproval", "CertificateSigning",
		"ClusterTrustBundleAttest", "CertificateSubjectRestriction", "DefaultIngressClass", topologyLabels, "NodeDeclaredFeatureValidator",
		mutatingpolicy.PluginName, mutatingwebhook.PluginName, validatingpolicy.PluginName, validatingwebhook.PluginName,
		resourcequota.PluginName)
}

// Source reads from the storages of h.
func Source(h *plug.Host) lookup.Source {
	return func(resource schema.GroupResource) (lookup.Storage, bool) {
		store := h.Store(resource.Group, resource.Resource)
		return shared{store, h.Feed, resource}, store != nil
	}
}

// shared is a storage with the feed that knows what its watch cache holds.
type shared struct {
	*rows.Store
	feed     *feed.Feed
	resource schema.GroupResource
}

func (s shared) Peek(namespace, name string) runtime.Object {
	return s.feed.Log(s.resource).Get(s.Key(namespace, name))
}

func (s shared) Each(f func(runtime.Object)) { s.feed.Log(s.resource).Each(f) }

// join makes one plugin of many. Upstream's own register in a table by name and
// are handed what they need after they were made.
func join(h *plug.Host, plugins []named, o Options, stop <-chan struct{}) (halves, error) {
	dynamicClient, err := dynamic.NewForConfig(h.Loopback)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	table := admission.NewPlugins()
	names := make([]string, 0, len(plugins))
	for _, p := range plugins {
		table.Register(p.name, func(io.Reader) (admission.Interface, error) { return p.plugin, nil })
		names = append(names, p.name)
	}
	needs := admission.PluginInitializers{
		initializer.New(h.Client, dynamicClient, h.Informers, h.Authorizer,
			utilfeature.DefaultFeatureGate, compatibility.DefaultBuildEffectiveVersion(), stop, h.Mapper),
		webhookinit.NewPluginInitializer(
			webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, h.Loopback, noop.NewTracerProvider()), o.Services),
		virtual{},
		quotaRules{Source(h)},
	}
	chain, err := table.NewFromPlugins(names, noConfig{}, needs, admission.DecoratorFunc(admissionmetrics.WithControllerMetrics))
	if err != nil {
		return nil, fmt.Errorf("admission chain: %w", err)
	}
	joined, ok := admissionmetrics.WithStepMetrics(chain).(halves)
	if !ok {
		return nil, errors.New("admission chain: it does not show what it does")
	}
	return joined, nil
}

// noConfig configures nothing.
type noConfig struct{}

// ConfigFor returns no configuration.
func (noConfig) ConfigFor(string) (io.Reader, error) { return nil, nil }

// virtual tells webhooks and policies which resources exist only as questions:
// a policy that refuses them would lock everybody out.
type virtual struct{}

// Initialize hands the resources to plugins that want them.
func (virtual) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(questions())
	}
}

// quotaWorkers is how many namespaces are charged at a time.
const quotaWorkers = 5

// quotaRules tells the quota plugin what objects count.
type quotaRules struct{ source lookup.Source }

// Initialize hands the rules to the plugin that wants them.
func (r quotaRules) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		wants.SetQuotaConfiguration(quota.New(r.list, time.Now))
	}
}

// list reads what the measure of a claim for devices depends on.
func (r quotaRules) list(resource schema.GroupResource, namespace string) ([]runtime.Object, error) {
	return lookup.ListFew[runtime.Object](context.Background(), r.source, resource, namespace)
}

func questions() []schema.GroupResource {
	const authentication, authorization = "authentication.k8s.io", "authorization.k8s.io"
	return []schema.GroupResource{
		{Group: authentication, Resource: "selfsubjectreviews"},
		{Group: authentication, Resource: "tokenreviews"},
		{Group: authorization, Resource: "localsubjectaccessreviews"},
		{Group: authorization, Resource: "selfsubjectaccessreviews"},
		{Group: authorization, Resource: "selfsubjectrulesreviews"},
		{Group: authorization, Resource: "subjectaccessreviews"},
	}
}
