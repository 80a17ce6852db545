package dynamicresource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// ResourceClaim checks a new claim.
func ResourceClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	return rule.All(rule.Namespaced(&c.ObjectMeta, rule.Subdomain), claimSpec(&c.Spec, field.NewPath("spec")))
}

// ResourceClaimUpdate checks a changed claim: nothing of the spec may change.
func ResourceClaimUpdate(c, old *resourcev1.ResourceClaim) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), rule.Immutable(c.Spec, old.Spec, field.NewPath("spec")))
}

// ResourceClaimTemplate checks a new template.
func ResourceClaimTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	path := field.NewPath("spec")
	return rule.All(rule.Namespaced(&t.ObjectMeta, rule.Subdomain),
		check.TemplateMeta(&t.Spec.ObjectMeta, path.Child("metadata")), claimSpec(&t.Spec.Spec, path.Child("spec")))
}

// ResourceClaimTemplateUpdate checks a changed template: nothing of the spec
// may change, and what is new is checked all the same.
func ResourceClaimTemplateUpdate(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	return rule.All(ResourceClaimTemplate(t), rule.MetaUpdate(&t.ObjectMeta, &old.ObjectMeta), rule.Immutable(t.Spec, old.Spec, field.NewPath("spec")))
}

func claimSpec(s *resourcev1.ResourceClaimSpec, path *field.Path) field.ErrorList {
	var l check.List
	devices, at := &s.Devices, path.Child("devices")
	names := requestsOf(devices)
	derived := &derivation{budget: &budget{}, constraints: devices.Constraints}
	// What is too long is not looked into; the declared rules say so.
	if len(devices.Requests) <= resourcev1.DeviceRequestsMaxSize {
		for i := range devices.Requests {
			request(&l, &devices.Requests[i], derived, at.Child("requests").Index(i))
		}
	}
	if len(devices.Constraints) <= resourcev1.DeviceConstraintsMaxSize {
		for i := range devices.Constraints {
			constraint(&l, &devices.Constraints[i], names, at.Child("constraints").Index(i))
		}
	}
	if len(devices.Config) <= resourcev1.DeviceConfigMaxSize {
		for i := range devices.Config {
			c, here := &devices.Config[i], at.Child("config").Index(i)
			names.references(&l, c.Requests, here.Child("requests"))
			configuration(&l, &c.DeviceConfiguration, false, here)
		}
	}
	if derived.budget.spent > resourcev1.DeviceClaimDerivedAttributeCELMaxCost {
		l.Forbidden(at, "too complex, total cost of derived attribute CEL expressions in the claim exceeds cost limit")
	}
	return merge(run(resourcev1.Validate_ResourceClaimSpec, s, nil, path), l.Errors)
}

func request(l *check.List, r *resourcev1.DeviceRequest, derived *derivation, path *field.Path) {
	l.Label(path.Child("name"), r.Name)
	switch {
	case len(r.FirstAvailable) == 0 && r.Exactly == nil:
		l.Required(path, "exactly one of `exactly` or `firstAvailable` is required")
	case len(r.FirstAvailable) > 0 && r.Exactly != nil:
		l.Invalid(path, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case r.Exactly != nil:
		e := r.Exactly
		wanted{e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, e.DerivedAttributes}.
			check(l, derived, r.Name, path.Child("exactly"))
	case len(r.FirstAvailable) <= resourcev1.FirstAvailableDeviceRequestMaxSize:
		for i := range r.FirstAvailable {
			s, at := &r.FirstAvailable[i], path.Child("firstAvailable").Index(i)
			l.Label(at.Child("name"), s.Name)
			wanted{s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, s.DerivedAttributes}.
				check(l, derived, r.Name+"/"+s.Name, at)
		}
	}
}

// wanted is what a request and each of its alternatives have in common.
type wanted struct {
	class       string
	selectors   []resourcev1.DeviceSelector
	mode        resourcev1.DeviceAllocationMode
	count       int64
	tolerations []resourcev1.DeviceToleration
	derived     []resourcev1.DeviceDerivedAttribute
}

func (w wanted) check(l *check.List, derived *derivation, name string, path *field.Path) {
	if at := path.Child("deviceClassName"); w.class == "" {
		l.Required(at, "")
	} else {
		l.Subdomain(at, w.class)
	}
	selectors(l, w.selectors, path.Child("selectors"))
	switch w.mode {
	case resourcev1.DeviceAllocationModeAll:
		if w.count != 0 {
			l.Invalid(path.Child("count"), w.count, "must not be specified when allocationMode is '"+string(w.mode)+"'")
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if w.count <= 0 {
			l.Invalid(path.Child("count"), w.count, check.MustBePositive)
		}
	default:
		l.Add(field.NotSupported(path.Child("allocationMode"), w.mode,
			[]resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	for i := range w.tolerations {
		toleration(l, &w.tolerations[i], path.Child("tolerations").Index(i))
	}
	derived.check(l, w.derived, name, path.Child("derivedAttributes"))
}

// derivation checks attributes that a claim computes for its constraints.
type derivation struct {
	budget      *budget
	constraints []resourcev1.DeviceConstraint
}

func (d *derivation) check(l *check.List, list []resourcev1.DeviceDerivedAttribute, request string, path *field.Path) {
	seen := sets.New[resourcev1.FullyQualifiedName]()
	for i := range list {
		a, at := &list[i], path.Index(i)
		if a.Name != "" && !d.used(a.Name, request) {
			l.Invalid(at.Child("name"), a.Name, "must be referenced by at least one matchAttribute or distinctAttribute constraint targeting this request")
		}
		if a.Expression != "" {
			expression(l, a.Expression, at.Child("expression"), d.budget)
		}
		if seen.Has(a.Name) {
			l.Duplicate(at, string(a.Name))
		}
		seen.Insert(a.Name)
	}
}

// used tells whether a constraint on request speaks of the attribute.
func (d *derivation) used(name resourcev1.FullyQualifiedName, request string) bool {
	parent, _, _ := strings.Cut(request, "/")
	for i := range d.constraints {
		c := &d.constraints[i]
		at := c.MatchAttribute
		if at == nil {
			at = c.DistinctAttribute
		}
		if at == nil || *at != name {
			continue
		}
		if len(c.Requests) == 0 {
			return true
		}
		for _, r := range c.Requests {
			if r == request || r == parent {
				return true
			}
		}
	}
	return false
}

func constraint(l *check.List, c *resourcev1.DeviceConstraint, names requests, path *field.Path) {
	names.references(l, c.Requests, path.Child("requests"))
	if c.MatchAttribute == nil && c.DistinctAttribute == nil {
		l.Required(path, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
	}
}

// ResourceClaimStatusUpdate checks what the scheduler, the nodes and the
// drivers write.
func ResourceClaimStatusUpdate(c, old *resourcev1.ResourceClaim) field.ErrorList {
	path := field.NewPath("status")
	var l check.List
	for i, ref := range c.Status.ReservedFor {
		at := path.Child("reservedFor").Index(i)
		for _, need := range []struct{ name, value string }{{"resource", ref.Resource}, {"name", ref.Name}, {"uid", string(ref.UID)}} {
			if need.value == "" {
				l.Required(at.Child(need.name), "")
			}
		}
	}
	reservations(&l, c, old, path.Child("reservedFor"))
	allocated := sets.New[device]()
	if a := c.Status.Allocation; a != nil {
		for i := range a.Devices.Results {
			r := &a.Devices.Results[i]
			allocated.Insert(deviceOf(r.Driver, r.Pool, r.Device, r.ShareID))
		}
		if old.Status.Allocation == nil {
			allocation(&l, a, requestsOf(&c.Spec.Devices), path.Child("allocation"))
		}
	}
	for i := range c.Status.Devices {
		deviceStatus(&l, &c.Status.Devices[i], allocated, path.Child("devices").Index(i))
	}
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta),
		merge(run(resourcev1.Validate_ResourceClaimStatus, &c.Status, &old.Status, path), l.Errors))
}

// reservations may only stand on an allocation, and none may come to a claim
// that is going away.
func reservations(l *check.List, c, old *resourcev1.ResourceClaim, path *field.Path) {
	switch {
	case len(c.Status.ReservedFor) == 0:
	case c.Status.Allocation == nil:
		l.Forbidden(path, "may not be specified when `allocated` is not set")
	case c.DeletionTimestamp != nil:
		if sets.New(c.Status.ReservedFor...).Difference(sets.New(old.Status.ReservedFor...)).Len() > 0 {
			l.Forbidden(path, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
		}
	}
}

// device names one device, or one share of it.
type device struct{ driver, pool, name, share string }

// String is how messages show it.
func (d device) String() string {
	s := d.driver + "/" + d.pool + "/" + d.name
	if d.share != "" {
		s += "/" + d.share
	}
	return s
}

func deviceOf[S ~string](driver, pool, name string, share *S) device {
	return device{driver, pool, name, string(check.Deref(share, ""))}
}

func allocation(l *check.List, a *resourcev1.AllocationResult, names requests, path *field.Path) {
	results := path.Child("devices", "results")
	for i := range a.Devices.Results {
		r, at := &a.Devices.Results[i], results.Index(i)
		names.reference(l, r.Request, at.Child("request"))
		driver(l, r.Driver, at.Child("driver"))
		pool(l, r.Pool, at.Child("pool"))
		l.Label(at.Child("device"), r.Device)
		bindings(l, r.BindingConditions, r.BindingFailureConditions, at)
		for j := range r.Tolerations {
			toleration(l, &r.Tolerations[j], at.Child("tolerations").Index(j))
		}
		skipped(l, r.SkipNodeOperations, at.Child("skipNodeOperations"))
	}
	for i := range a.Devices.Config {
		c, at := &a.Devices.Config[i], path.Child("devices", "config").Index(i)
		names.references(l, c.Requests, at.Child("requests"))
		configuration(l, &c.DeviceConfiguration, false, at)
	}
	if a.NodeSelector != nil {
		l.Add(placement.NodeSelector(a.NodeSelector, false, path.Child("nodeSelector"))...)
	}
}

func deviceStatus(l *check.List, s *resourcev1.AllocatedDeviceStatus, allocated sets.Set[device], path *field.Path) {
	driver(l, s.Driver, path.Child("driver"))
	pool(l, s.Pool, path.Child("pool"))
	l.Label(path.Child("device"), s.Device)
	if d := deviceOf(s.Driver, s.Pool, s.Device, (*types.UID)(s.ShareID)); !allocated.Has(d) {
		l.Invalid(path, d.String(), "must be an allocated device in the claim")
	}
	const most = 8
	if len(s.Conditions) > most {
		l.Add(field.TooMany(path.Child("conditions"), len(s.Conditions), most))
	}
	l.Add(metav1validation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	if s.Data != nil && len(s.Data.Raw) > 0 {
		object(l, s.Data.Raw, resourcev1.AllocatedDeviceStatusDataMaxLength, path.Child("data"))
	}
	if n := s.NetworkData; n != nil {
		for i, address := range n.IPs {
			l.Add(validation.IsValidInterfaceAddress(path.Child("networkData", "ips").Index(i), address)...)
		}
	}
}
