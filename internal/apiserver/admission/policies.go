package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/client-go/openapi"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// immortal are the namespaces that cannot be deleted.
func immortal() sets.Set[string] {
	return sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic)
}

// policies are the two plugins that run policies written in CEL. Upstream's
// start their goroutines while they are put together; these do so in a hook,
// when the API can answer them, and requests wait for it.
type policies struct {
	mutating   *lateMutating
	validating *lateValidating
	host       *plug.Host
	dynamic    dynamic.Interface
	mutators   listers.MutatingAdmissionPolicyLister
	validators listers.ValidatingAdmissionPolicyLister
	stop       chan struct{}
}

func newPolicies(h *plug.Host) (*policies, error) {
	mutating, err := mutatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("mutating policies: %w", err)
	}
	validating, err := validatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, fmt.Errorf("validating policies: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(h.Loopback)
	if err != nil {
		return nil, fmt.Errorf("loopback client: %w", err)
	}
	registered := h.Informers.Admissionregistration().V1()
	// Asked for here, so that the server fills them with all others.
	registered.ValidatingAdmissionPolicies().Informer()
	registered.ValidatingAdmissionPolicyBindings().Informer()
	registered.MutatingAdmissionPolicies().Informer()
	registered.MutatingAdmissionPolicyBindings().Informer()
	h.Informers.Core().V1().Namespaces().Informer()

	started := make(chan struct{})
	p := &policies{
		host:       h,
		dynamic:    dynamicClient,
		mutators:   registered.MutatingAdmissionPolicies().Lister(),
		validators: registered.ValidatingAdmissionPolicies().Lister(),
		stop:       make(chan struct{}),
	}
	p.mutating = &lateMutating{late{plugin: mutating, started: started, none: p.noMutators}, mutating}
	p.validating = &lateValidating{late{plugin: validating, started: started, none: p.noValidators}, validating}
	return p, nil
}

func (p *policies) hooks() []plug.Hook {
	var once sync.Once
	end := func() { once.Do(func() { close(p.stop) }) }
	return []plug.Hook{{
		Name:   "admission/policies",
		Start:  func(context.Context) error { return p.start() },
		Checks: []string{"poststarthook/start-apiserver-admission-initializer"},
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			end()
			return nil
		},
	}}
}

// start hands both plugins what they need and starts them.
func (p *policies) start() error {
	defer close(p.mutating.started)
	for _, l := range []struct {
		plugin admission.Interface
		client kubernetes.Interface
	}{
		{p.mutating.plugin, &quietClient{Interface: p.host.Client, idle: p.noMutators}},
		{p.validating.plugin, p.host.Client},
	} {
		needs := admission.PluginInitializers{
			initializer.New(l.client, p.dynamic, p.host.Informers, p.host.Authorizer,
				utilfeature.DefaultFeatureGate, compatibility.DefaultBuildEffectiveVersion(), p.stop, p.host.Mapper),
			virtual{},
		}
		needs.Initialize(l.plugin)
		if err := admission.ValidateInitialization(l.plugin); err != nil {
			return fmt.Errorf("start policies: %w", err)
		}
	}
	return nil
}

// noMutators says that there is no mutating policy.
func (p *policies) noMutators() bool {
	list, err := p.mutators.List(labels.Everything())
	return err == nil && len(list) == 0
}

// noValidators says that there is no validating policy.
func (p *policies) noValidators() bool {
	list, err := p.validators.List(labels.Everything())
	return err == nil && len(list) == 0
}

// late is a plugin whose requests wait until it has been started. Where there is
// no policy it is not asked: upstream's sets a timer for each request before it
// sees that it has nothing to do.
type late struct {
	plugin  admission.Interface
	started chan struct{}
	none    func() bool
	known   atomic.Bool // the plugin knows its policies
}

// Handles says which operations the plugin looks at.
func (l *late) Handles(op admission.Operation) bool { return l.plugin.Handles(op) }

func (l *late) wait(ctx context.Context, a admission.Attributes) error {
	select {
	case <-l.started:
		return nil
	case <-ctx.Done():
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
}

// nothing says that there is no policy to ask. The plugin learns of policies from
// the same cache, and later.
func (l *late) nothing() bool { return l.known.Load() && l.none() }

// asked notes that the plugin let a request pass. Of kinds that it looks at, it
// does so only when it knows its policies.
func (l *late) asked(a admission.Attributes, err error) error {
	if err == nil && a.GetResource().Group == corev1.GroupName && !l.known.Load() {
		l.known.Store(true)
	}
	return err
}

type lateMutating struct {
	late
	mutator admission.MutationInterface
}

// Admit implements admission.MutationInterface.
func (l *lateMutating) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := l.wait(ctx, a); err != nil {
		return err
	}
	if l.nothing() {
		return nil
	}
	return l.asked(a, l.mutator.Admit(ctx, a, o))
}

type lateValidating struct {
	late
	validator admission.ValidationInterface
}

// Validate implements admission.ValidationInterface.
func (l *lateValidating) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := l.wait(ctx, a); err != nil {
		return err
	}
	if l.nothing() {
		return nil
	}
	return l.asked(a, l.validator.Validate(ctx, a, o))
}

// quietClient keeps upstream's mutating policies from fetching the API's
// schemas every few seconds while no policy needs them.
type quietClient struct {
	kubernetes.Interface
	idle func() bool
}

// Discovery returns the client's, with quiet schemas.
func (c *quietClient) Discovery() discovery.DiscoveryInterfaces {
	return quietDiscovery{DiscoveryInterfaces: c.Interface.Discovery(), idle: c.idle}
}

type quietDiscovery struct {
	discovery.DiscoveryInterfaces
	idle func() bool
}

// OpenAPIV3 returns the client's, quiet while there is nothing to do.
func (d quietDiscovery) OpenAPIV3() openapi.Client {
	return quietSchemas{Client: d.DiscoveryInterfaces.OpenAPIV3(), idle: d.idle}
}

type quietSchemas struct {
	openapi.Client
	idle func() bool
}

// Paths returns where the schemas are; nowhere while there is no policy.
func (s quietSchemas) Paths() (map[string]openapi.GroupVersion, error) {
	if s.idle() {
		return nil, nil
	}
	return s.Client.Paths()
}
