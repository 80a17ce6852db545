package deviceaccess

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// checkStatus asks for the rights to the parts of a claim's status that a write
// changes: schedulers bind claims, and drivers tell of their own devices only.
func (p *Plugin) checkStatus(ctx context.Context, a admission.Attributes) field.ErrorList {
	r := a.GetResource()
	if r.Group != resourcev1.GroupName || r.Resource != "resourceclaims" || a.GetSubresource() != "status" {
		return nil
	}
	claim, ok := a.GetObject().(*resourcev1.ResourceClaim)
	old, okOld := a.GetOldObject().(*resourcev1.ResourceClaim)
	if !ok || !okOld {
		return field.ErrorList{field.InternalError(field.NewPath("status"), fmt.Errorf("expected type ResourceClaim, got: %T", a.GetObject()))}
	}
	faults := p.checkBinding(ctx, &claim.Status, &old.Status)
	// What is told of devices goes with the allocation, whoever takes that away.
	if claim.Status.Allocation != nil {
		faults = append(faults, p.checkDrivers(ctx, &claim.Status, &old.Status)...)
	}
	return faults
}

func (p *Plugin) checkBinding(ctx context.Context, s, old *resourcev1.ResourceClaimStatus) field.ErrorList {
	if equality.Semantic.DeepEqual(s.Allocation, old.Allocation) && equality.Semantic.DeepEqual(s.ReservedFor, old.ReservedFor) {
		return nil
	}
	path := field.NewPath("status", "allocation")
	base, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	// Devices are the cluster's, so the right holds for claims of all namespaces.
	asked := part{Attributes: base, verb: base.GetVerb(), subresource: resourcev1.SubresourceBinding}
	if err := p.authorize(ctx, asked); err != nil {
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf(
			`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, asked.verb, err))}
	}
	return nil
}

func (p *Plugin) checkDrivers(ctx context.Context, s, old *resourcev1.ResourceClaimStatus) field.ErrorList {
	drivers := changedDrivers(s.Devices, old.Devices)
	if len(drivers) == 0 {
		return nil
	}
	path := field.NewPath("status", "devices")
	base, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("cannot build authorizer attributes: %w", err))}
	}
	// Any one of the verbs will do.
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + base.GetVerb()}
	if runsOn(base.GetUser(), allocatedNode(s.Allocation)) {
		verbs = slices.Insert(verbs, 0, resourcev1.VerbPrefixAssociatedNode+base.GetVerb())
	}
	var faults field.ErrorList
	for _, driver := range sets.List(drivers) {
		if err := p.authorizeDriver(ctx, base, verbs, driver); err != nil {
			faults = append(faults, field.Forbidden(path, fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, err)))
		}
	}
	return faults
}

// authorizeDriver returns nil when one of the verbs is allowed, or why the first
// is not.
func (p *Plugin) authorizeDriver(ctx context.Context, base authorizer.Attributes, verbs []string, driver string) error {
	var first error
	for _, verb := range verbs {
		err := p.authorize(ctx, part{
			Attributes: base, verb: verb, subresource: resourcev1.SubresourceDriver, namespace: base.GetNamespace(), name: driver,
		})
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// authorize goes by the decision: one may be to allow although some rules could
// not be read.
func (p *Plugin) authorize(ctx context.Context, asked part) error {
	decision, reason, err := p.authorizer.Authorize(ctx, asked)
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return responsewriters.ForbiddenStatusError(asked, reason)
}

// changedDrivers are those whose devices are told of anew, otherwise or no more.
func changedDrivers(devices, old []resourcev1.AllocatedDeviceStatus) sets.Set[string] {
	type key struct{ driver, pool, device, share string }
	keyOf := func(d *resourcev1.AllocatedDeviceStatus) key {
		k := key{driver: d.Driver, pool: d.Pool, device: d.Device}
		if d.ShareID != nil {
			k.share = *d.ShareID
		}
		return k
	}
	before := map[key]*resourcev1.AllocatedDeviceStatus{}
	for i := range old {
		before[keyOf(&old[i])] = &old[i]
	}
	out := sets.New[string]()
	for i := range devices {
		k := keyOf(&devices[i])
		if was := before[k]; was == nil || !equality.Semantic.DeepEqual(was, &devices[i]) {
			out.Insert(k.driver)
		}
		delete(before, k)
	}
	for k := range before {
		out.Insert(k.driver)
	}
	return out
}

// allocatedNode is the one node that the devices can be used on; empty when there
// are more.
func allocatedNode(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	f := term.MatchFields[0]
	if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// runsOn tells whether u is the account of a pod that runs on the node.
func runsOn(u user.Info, node string) bool {
	if node == "" || u == nil {
		return false
	}
	if _, _, err := serviceaccount.SplitUsername(u.GetName()); err != nil {
		return false
	}
	on := u.GetExtra()[serviceaccount.NodeNameKey]
	return len(on) == 1 && on[0] == node && len(validation.NameIsDNSSubdomain(node, false)) == 0
}

// part is the request to write a part of a status that has rights of its own.
type part struct {
	authorizer.Attributes
	verb, subresource, namespace, name string
}

// GetVerb implements authorizer.Attributes.
func (p part) GetVerb() string { return p.verb }

// GetSubresource implements authorizer.Attributes.
func (p part) GetSubresource() string { return p.subresource }

// GetNamespace implements authorizer.Attributes.
func (p part) GetNamespace() string { return p.namespace }

// GetName implements authorizer.Attributes.
func (p part) GetName() string { return p.name }
