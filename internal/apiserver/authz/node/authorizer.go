package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/authz/rbac"
)

// Authorizer decides for nodes; of all others it has no opinion. It never
// denies: what it does not allow is left to the next authorizer.
type Authorizer struct {
	graph *Graph
	rules []rbacv1.PolicyRule
}

// New returns the authorizer over graph; rules are what every node may do with
// resources that the graph does not know.
func New(graph *Graph, rules []rbacv1.PolicyRule) *Authorizer {
	return &Authorizer{graph: graph, rules: rules}
}

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	name, isNode := Identity(attrs.GetUser())
	if !isNode {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if name == "" {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", attrs.GetUser().GetName()), nil
	}
	if err := a.graph.gate.Pass(ctx); err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	if why := a.refuse(name, attrs); why != "" {
		if why == notAllowed {
			why = ""
		}
		return authorizer.DecisionNoOpinion, why, nil
	}
	return authorizer.DecisionAllow, "", nil
}

// ConditionsAwareAuthorize is Authorize: there are no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attrs authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attrs))
}

// EvaluateConditions refuses: there are no conditions.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver: what a node may do is no list.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, isNode := Identity(u); isNode {
		return nil, nil, true, errors.New("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

// notAllowed is a refusal without a reason of its own.
const notAllowed = "not allowed"

// refuse returns why node may not do what attrs say; nothing when it may.
func (a *Authorizer) refuse(node string, attrs authorizer.Attributes) string {
	if attrs.IsResourceRequest() {
		switch (schema.GroupResource{Group: attrs.GetAPIGroup(), Resource: attrs.GetResource()}) {
		case schema.GroupResource{Resource: "secrets"}:
			return a.read(node, secrets, attrs)
		case schema.GroupResource{Resource: "configmaps"}:
			return a.read(node, configMaps, attrs)
		case schema.GroupResource{Resource: "persistentvolumeclaims"}:
			if attrs.GetSubresource() == "status" {
				return a.updateStatus(node, claims, attrs)
			}
			return a.get(node, claims, attrs)
		case schema.GroupResource{Resource: "persistentvolumes"}:
			return a.get(node, volumes, attrs)
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}:
			return a.get(node, resourceClaims, attrs)
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}:
			return a.get(node, attachments, attrs)
		case schema.GroupResource{Resource: "serviceaccounts"}:
			return a.account(node, attrs)
		case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
			return lease(node, attrs)
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
			return csiNode(node, attrs)
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}:
			return a.slice(node, attrs)
		case schema.GroupResource{Resource: "nodes"}:
			return ownNode(node, attrs)
		case schema.GroupResource{Resource: "pods"}:
			return a.pod(node, attrs)
		}
	}
	if rbac.Allows(attrs, a.rules...) {
		return ""
	}
	return notAllowed
}

func (a *Authorizer) related(node string, k kind, attrs authorizer.Attributes) string {
	if attrs.GetName() == "" {
		return "No Object name found"
	}
	if !a.graph.related(node, named(k, attrs.GetNamespace(), attrs.GetName())) {
		return fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return ""
}

// read lets a node read single objects that its pods use.
func (a *Authorizer) read(node string, k kind, attrs authorizer.Attributes) string {
	switch {
	case !slices.Contains([]string{"get", "list", "watch"}, attrs.GetVerb()):
		return "can only read resources of this type"
	case attrs.GetSubresource() != "":
		return "cannot read subresource"
	case attrs.GetNamespace() == "":
		return "can only read namespaced object of this type"
	}
	return a.related(node, k, attrs)
}

func (a *Authorizer) get(node string, k kind, attrs authorizer.Attributes) string {
	switch {
	case attrs.GetVerb() != "get":
		return "can only get individual resources of this type"
	case attrs.GetSubresource() != "":
		return "cannot get subresource"
	}
	return a.related(node, k, attrs)
}

func (a *Authorizer) updateStatus(node string, k kind, attrs authorizer.Attributes) string {
	if verb := attrs.GetVerb(); verb != "update" && verb != "patch" {
		return "can only get/update/patch this type"
	}
	return a.related(node, k, attrs)
}

// account lets a node get the accounts of its pods and tokens for them.
func (a *Authorizer) account(node string, attrs authorizer.Attributes) string {
	if attrs.GetVerb() == "get" && attrs.GetSubresource() == "" {
		return a.related(node, serviceAccounts, attrs)
	}
	switch {
	case attrs.GetVerb() != "create" || attrs.GetName() == "":
		return "can only create tokens for individual service accounts"
	case attrs.GetSubresource() != "token":
		return "can only create token subresource of serviceaccount"
	}
	return a.related(node, serviceAccounts, attrs)
}

const ownWrites = "get, create, update, patch, or delete"

func isOwnWrite(verb string) bool {
	return slices.Contains([]string{"get", "create", "update", "patch", "delete"}, verb)
}

// lease is for the node's heartbeat. A create names nothing yet: admission
// looks at what is created.
func lease(node string, attrs authorizer.Attributes) string {
	switch {
	case !isOwnWrite(attrs.GetVerb()):
		return "can only " + ownWrites + " a node lease"
	case attrs.GetNamespace() != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case attrs.GetVerb() != "create" && attrs.GetName() != node:
		return "can only access node lease with the same name as the requesting node"
	}
	return ""
}

func csiNode(node string, attrs authorizer.Attributes) string {
	switch {
	case !isOwnWrite(attrs.GetVerb()):
		return "can only " + ownWrites + " a CSINode"
	case attrs.GetSubresource() != "":
		return "cannot authorize CSINode subresources"
	case attrs.GetVerb() != "create" && attrs.GetName() != node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

func (a *Authorizer) slice(node string, attrs authorizer.Attributes) string {
	if attrs.GetSubresource() != "" {
		return "cannot authorize ResourceSlice subresources"
	}
	switch attrs.GetVerb() {
	case "create":
		return "" // admission looks at what is created
	case "get", "update", "patch", "delete":
		return a.related(node, resourceSlices, attrs)
	case "watch", "list", "deletecollection":
		if selects(attrs, "nodeName", node) {
			return ""
		}
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

// selects says whether a request is limited to objects whose field has value.
func selects(attrs authorizer.Attributes, field, value string) bool {
	requirements, _ := attrs.GetFieldSelector() // what cannot be read limits nothing
	for _, r := range requirements {
		if r.Field == field && r.Operator == selection.Equals && r.Value == value {
			return true
		}
	}
	return false
}

// ownNode compares names instead of asking the graph: a node looks for itself
// before it exists.
func ownNode(node string, attrs authorizer.Attributes) string {
	switch attrs.GetSubresource() + "/" + attrs.GetVerb() {
	case "/create", "/update", "/patch", "status/update", "status/patch":
		return "" // admission looks at what is written
	case "/get", "/list", "/watch":
		switch attrs.GetName() {
		case node:
			return ""
		case "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, attrs.GetName())
	}
	return notAllowed
}

func (a *Authorizer) pod(node string, attrs authorizer.Attributes) string {
	switch attrs.GetSubresource() + "/" + attrs.GetVerb() {
	case "/get":
		return a.related(node, pods, attrs)
	case "/list", "/watch":
		if selects(attrs, "spec.nodeName", node) {
			return ""
		}
		if attrs.GetName() != "" {
			return a.related(node, pods, attrs)
		}
		return "can only list/watch pods with spec.nodeName field selector"
	case "/create", "/delete", "status/update", "status/patch", "eviction/create":
		return "" // admission looks at whose pod it is
	}
	return notAllowed
}
