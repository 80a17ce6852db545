package authz

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/util/filesystem"
	utilwebhook "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
)

// Options say who decides besides nodes' rights and roles. The zero value: nobody.
type Options struct {
	// ConfigFile is an AuthorizationConfiguration: who is asked, in which order.
	ConfigFile string
}

const (
	typeNode  = "Node"
	typeRBAC  = "RBAC"
	typeAllow = "AlwaysAllow"
	typeDeny  = "AlwaysDeny"
)

// Check says what is wrong with the file.
func (o Options) Check() error {
	_, err := o.load()
	return err
}

func (o Options) load() (*apiserver.AuthorizationConfiguration, error) {
	if o.ConfigFile == "" {
		return &apiserver.AuthorizationConfiguration{Authorizers: []apiserver.AuthorizerConfiguration{
			{Type: typeNode, Name: "node"}, {Type: typeRBAC, Name: "rbac"},
		}}, nil
	}
	c, err := load.LoadFromFile(o.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("--authorization-config %s: %w", o.ConfigFile, err)
	}
	errs := validation.ValidateAuthorizationConfiguration(authorizationcel.NewDefaultCompiler(), nil, c,
		sets.New(typeNode, typeRBAC, typeAllow, typeDeny, string(apiserver.TypeWebhook)), sets.New(string(apiserver.TypeWebhook)))
	if err := errs.ToAggregate(); err != nil {
		return nil, fmt.Errorf("--authorization-config %s: %w", o.ConfigFile, err)
	}
	return c, nil
}

// ordered asks authorizers in the order of a file, which may change.
type ordered struct {
	options Options
	own     map[apiserver.AuthorizerType]both
	log     *slog.Logger
	current atomic.Pointer[order]
}

// both is an authorizer that can also list.
type both interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// order is one content of the file.
type order struct {
	config *apiserver.AuthorizationConfiguration
	authorizer.Authorizer
	authorizer.RuleResolver
}

func (o *ordered) take(c *apiserver.AuthorizationConfiguration) error {
	// Administrators are never locked out.
	all := []union.NamedAuthorizer{{
		AuthorizerName: "system-masters", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup),
	}}
	var lists []authorizer.RuleResolver
	for _, a := range c.Authorizers {
		one, err := o.authorizer(a)
		if err != nil {
			return fmt.Errorf("authorizer %s: %w", a.Name, err)
		}
		all, lists = append(all, union.NamedAuthorizer{AuthorizerName: a.Name, Authorizer: one}), append(lists, one)
	}
	joined, err := union.New(all...)
	if err != nil {
		return fmt.Errorf("join authorizers: %w", err)
	}
	o.current.Store(&order{c, joined, union.NewRuleResolvers(lists...)})
	return nil
}

func (o *ordered) authorizer(a apiserver.AuthorizerConfiguration) (both, error) {
	if own := o.own[a.Type]; own != nil {
		return own, nil
	}
	w := a.Webhook
	if w.ConnectionInfo.KubeConfigFile == nil {
		return nil, fmt.Errorf("connectionInfo.type %s is for programs in pods; use KubeConfigFile", w.ConnectionInfo.Type)
	}
	config, err := utilwebhook.LoadKubeconfig(*w.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("connectionInfo.kubeConfigFile %s: %w", *w.ConnectionInfo.KubeConfigFile, err)
	}
	config.Timeout = w.Timeout.Duration
	onError := authorizer.DecisionNoOpinion
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	authorized, unauthorized := w.AuthorizedTTL.Duration, w.UnauthorizedTTL.Duration
	if !w.CacheAuthorizedRequests {
		authorized = 0
	}
	if !w.CacheUnauthorizedRequests {
		unauthorized = 0
	}
	return webhook.New(config, w.SubjectAccessReviewVersion, authorized, unauthorized, *webhook.DefaultRetryBackoff(),
		onError, w.MatchConditions, a.Name, metrics.NoopAuthorizerMetrics{}, authorizationcel.NewDefaultCompiler())
}

// Authorize implements authorizer.Authorizer.
func (o *ordered) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return o.current.Load().Authorize(ctx, a)
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (o *ordered) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return o.current.Load().ConditionsAwareAuthorize(ctx, a)
}

// EvaluateConditions implements authorizer.Authorizer.
func (o *ordered) EvaluateConditions(ctx context.Context, d authorizer.ConditionsAwareDecision, data authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return o.current.Load().EvaluateConditions(ctx, d, data)
}

// RulesFor implements authorizer.RuleResolver.
func (o *ordered) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return o.current.Load().RulesFor(ctx, u, namespace)
}

// lookAgain is how often the file is read where the kernel tells nothing of
// changes, as on network file systems.
const lookAgain = time.Minute

// follow takes up changes of the file until ctx ends. One that is wrong changes
// nothing.
func (o *ordered) follow(ctx context.Context) error {
	if o.options.ConfigFile == "" {
		<-ctx.Done()
		return nil
	}
	filesystem.WatchUntil(ctx, lookAgain, o.options.ConfigFile, func() {
		c, err := o.options.load()
		if err == nil && reflect.DeepEqual(c, o.current.Load().config) {
			return
		}
		if err == nil {
			err = o.take(c)
		}
		if err != nil {
			o.log.ErrorContext(ctx, "changed authorization configuration not taken", "err", err)
			return
		}
		o.log.InfoContext(ctx, "authorization configuration taken", "file", o.options.ConfigFile)
	}, func(err error) {
		o.log.WarnContext(ctx, "authorization configuration not followed", "err", err)
	})
	return nil
}
