// Package authz decides who may do what: it joins the administrators' group,
// the nodes' rights and RBAC into one authorizer, in upstream's order.
//
//	system:masters   everything, asking nobody
//	node             what has to do with the node that asks
//	RBAC             what roles and bindings allow
//
// An AuthorizationConfiguration file may order the last two otherwise, and have
// other programs asked; it is followed while the server runs.
//
// Each is a package of its own below this one; policy holds the roles that
// every cluster starts with. The package starts no goroutine: its work around
// the server's life is in Hooks.
package authz

import (
	"context"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"

	"github.com/sinawi/sinawi/internal/apiserver/authz/node"
	"github.com/sinawi/sinawi/internal/apiserver/authz/policy"
	"github.com/sinawi/sinawi/internal/apiserver/authz/rbac"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Authz is who may do what in one server.
type Authz struct {
	authorizer.Authorizer
	authorizer.RuleResolver

	// RBAC is the part that knows roles; admission asks it whether the writer
	// of a role holds what it would give away.
	RBAC *rbac.Authorizer
	// Hooks make the roles that every cluster starts with, before the server
	// is ready, and follow what decides while it runs.
	Hooks []plug.Hook
}

// New returns the authorizers over the feed of h. Until the Hooks run only
// system:masters pass; the questions of others wait a while.
func New(h *plug.Host, o Options) (*Authz, error) {
	index := rbac.NewIndex()
	graph := node.NewGraph()
	roles := rbac.New(index)
	nodes := node.New(graph, policy.NodeRules())
	joined := &ordered{options: o, log: h.Log, own: map[apiserver.AuthorizerType]both{
		typeNode: nodes, typeRBAC: roles,
		typeAllow: authorizerfactory.NewAlwaysAllowAuthorizer(), typeDeny: authorizerfactory.NewAlwaysDenyAuthorizer(),
	}}
	config, err := o.load()
	if err != nil {
		return nil, err
	}
	if err := joined.take(config); err != nil {
		return nil, err
	}
	return &Authz{
		Authorizer:   joined,
		RuleResolver: joined,
		RBAC:         roles,
		Hooks: []plug.Hook{
			{
				Name: "rbac/bootstrap-roles", Checks: []string{"poststarthook/rbac/bootstrap-roles"},
				Start: func(ctx context.Context) error { return policy.Reconcile(ctx, h.Client) },
			},
			{Name: "rbac/index", Run: func(ctx context.Context) error { return index.Follow(ctx, h.Feed) }},
			{Name: "node/graph", Run: func(ctx context.Context) error { return graph.Follow(ctx, h.Feed) }},
			{Name: "authorization configuration", Run: joined.follow},
		},
	}, nil
}
