package dynamicresource

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// ResourceSlice checks a new slice.
func ResourceSlice(s *resourcev1.ResourceSlice) field.ErrorList {
	return rule.All(rule.Cluster(&s.ObjectMeta, rule.Subdomain), sliceSpec(&s.Spec, nil))
}

// ResourceSliceUpdate checks a changed slice.
func ResourceSliceUpdate(s, old *resourcev1.ResourceSlice) field.ErrorList {
	return rule.All(rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta), sliceSpec(&s.Spec, &old.Spec))
}

func sliceSpec(s, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	path := field.NewPath("spec")
	var l check.List
	driver(&l, s.Driver, path.Child("driver"))
	pool(&l, s.Pool.Name, path.Child("pool", "name"))
	if s.Pool.ResourceSliceCount <= 0 {
		l.Invalid(path.Child("pool", "resourceSliceCount"), s.Pool.ResourceSliceCount, check.MustBePositive)
	}
	if s.Pool.Generation < 0 {
		l.Invalid(path.Child("pool", "generation"), s.Pool.Generation, "must be greater than or equal to zero")
	}
	if old != nil {
		l.Add(rule.Immutable(s.Pool.Name, old.Pool.Name, path.Child("pool", "name"))...)
		l.Add(rule.Immutable(s.Driver, old.Driver, path.Child("driver"))...)
		l.Add(rule.Immutable(s.NodeName, old.NodeName, path.Child("nodeName"))...)
	}
	where(&l, s, path)
	if s.SharedCounters != nil && s.Devices != nil {
		l.Invalid(path, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	devices(&l, s, old, path.Child("devices"))
	skipped(&l, s.SkipNodeOperations, path.Child("skipNodeOperations"))
	return merge(run(resourcev1.Validate_ResourceSliceSpec, s, old, path), l.Errors)
}

// where checks that the slice says in one way which nodes reach its devices.
func where(l *check.List, s *resourcev1.ResourceSliceSpec, path *field.Path) {
	var set []string
	if s.NodeName != nil {
		if *s.NodeName == "" {
			l.Invalid(path.Child("nodeName"), "", "must be either unset or set to a non-empty string")
		} else {
			set = append(set, "`nodeName`")
			l.Subdomain(path.Child("nodeName"), *s.NodeName)
		}
	}
	if s.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
		at := path.Child("nodeSelector")
		l.Add(placement.NodeSelector(s.NodeSelector, false, at)...)
		if terms := s.NodeSelector.NodeSelectorTerms; len(terms) != 1 {
			l.Invalid(at.Child("nodeSelectorTerms"), terms, "must have exactly one node selector term")
		}
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", s.AllNodes}, {"perDeviceNodeSelection", s.PerDeviceNodeSelection}} {
		switch {
		case flag.value == nil:
		case *flag.value:
			set = append(set, "`"+flag.name+"`")
		default:
			l.Invalid(path.Child(flag.name), false, "must be either unset or set to true")
		}
	}
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch {
	case len(set) == 0:
		l.Required(path, one)
	case len(set) > 1:
		l.Invalid(path, "{"+strings.Join(set, ", ")+"}", one+", but multiple fields are set")
	}
}

// mostDevices is how many a slice may hold: fewer when each says much.
func mostDevices(s *resourcev1.ResourceSliceSpec) int {
	for i := range s.Devices {
		d := &s.Devices[i]
		if len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
			}
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func devices(l *check.List, s, old *resourcev1.ResourceSliceSpec, path *field.Path) {
	if most := mostDevices(s); len(s.Devices) > most {
		l.Add(field.TooMany(path, len(s.Devices), most))
		return
	}
	before := map[string]*resourcev1.Device{}
	if old != nil {
		for i := range old.Devices {
			before[old.Devices[i].Name] = &old.Devices[i]
		}
	}
	seen := map[string]bool{}
	for i := range s.Devices {
		d, at := &s.Devices[i], path.Index(i)
		oneDevice(l, d, before[d.Name], at)
		ownNode(l, d, check.Deref(s.PerDeviceNodeSelection, false), at)
		if seen[d.Name] {
			l.Duplicate(at, d.Name)
		}
		seen[d.Name] = true
	}
}

func oneDevice(l *check.List, d, old *resourcev1.Device, path *field.Path) {
	l.Label(path.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		l.Invalid(path, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	values := 0
	for _, name := range check.Keys(d.Attributes) {
		a := d.Attributes[name]
		attribute(l, string(name), path.Child("attributes"))
		attributeValue(l, &a, path.Child("attributes").Key(short(string(name))))
		values += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
	}
	if values > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		l.Invalid(path, values, fmt.Sprintf("the total number of attribute values must not exceed %d", resourcev1.ResourceSliceMaxAttributeValuesPerDevice))
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		shared := check.Deref(d.AllowMultipleAllocations, false)
		for _, name := range check.Keys(d.Capacity) {
			c := d.Capacity[name]
			attribute(l, string(name), path.Child("capacity"))
			capacity(l, &c, shared, path.Child("capacity").Key(short(string(name))))
		}
	}
	if at := path.Child("taints"); len(d.Taints) > resourcev1.DeviceTaintsMaxLength {
		l.Add(field.TooMany(at, len(d.Taints), resourcev1.DeviceTaintsMaxLength))
	} else if old == nil || !apiequality.Semantic.DeepEqual(old.Taints, d.Taints) {
		for i := range d.Taints {
			taint(l, &d.Taints[i], at.Index(i))
		}
	}
	bindings(l, d.BindingConditions, d.BindingFailureConditions, path)
	nodeResources(l, d, path.Child("nodeAllocatableResources"))
}

// short keeps a key in a path readable.
func short(key string) string {
	const most = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength
	if len(key) <= most {
		return key
	}
	rest := most - len("...")
	return key[:(rest+1)/2] + "..." + key[len(key)-rest/2:]
}

// ownNode checks where one device is, which it says only when the slice does
// not.
func ownNode(l *check.List, d *resourcev1.Device, each bool, path *field.Path) {
	if !each {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			l.Invalid(path, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	var set []string
	if d.NodeName != nil {
		if *d.NodeName == "" {
			l.Invalid(path.Child("nodeName"), "", "must not be empty")
		} else {
			set = append(set, "`nodeName`")
			l.Subdomain(path.Child("nodeName"), *d.NodeName)
		}
	}
	if d.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
		l.Add(placement.NodeSelector(d.NodeSelector, false, path.Child("nodeSelector"))...)
	}
	if d.AllNodes != nil {
		if *d.AllNodes {
			set = append(set, "`allNodes`")
		} else {
			l.Invalid(path.Child("allNodes"), false, "must be either unset or set to true")
		}
	}
	const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch {
	case len(set) == 0:
		l.Required(path, one)
	case len(set) > 1:
		l.Invalid(path, "{"+strings.Join(set, ", ")+"}", one)
	}
}

// version is that of semver.org, 2.0.0.
var version = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func attributeValue(l *check.List, a *resourcev1.DeviceAttribute, path *field.Path) {
	text := func(value string, at *field.Path) {
		if len(value) > resourcev1.DeviceAttributeMaxValueLength {
			l.Add(field.TooLong(at, "", resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	number := func(value string, at *field.Path) {
		if !version.MatchString(value) {
			l.Invalid(at, value, "must be a string compatible with semver.org spec 2.0.0")
		}
		text(value, at)
	}
	if a.StringValue != nil {
		text(*a.StringValue, path.Child("string"))
	}
	if a.VersionValue != nil {
		number(*a.VersionValue, path.Child("version"))
	}
	for i, v := range a.StringValues {
		text(v, path.Child("strings").Index(i))
	}
	for i, v := range a.VersionValues {
		number(v, path.Child("versions").Index(i))
	}
	for _, list := range []struct {
		name  string
		empty bool
	}{
		{"bools", a.BoolValues != nil && len(a.BoolValues) == 0}, {"ints", a.IntValues != nil && len(a.IntValues) == 0},
		{"strings", a.StringValues != nil && len(a.StringValues) == 0}, {"versions", a.VersionValues != nil && len(a.VersionValues) == 0},
	} {
		if list.empty {
			l.Invalid(path.Child(list.name), "", "must not be empty if specified")
		}
	}
}

func capacity(l *check.List, c *resourcev1.DeviceCapacity, shared bool, path *field.Path) {
	at, p := path.Child("requestPolicy"), c.RequestPolicy
	switch {
	case p == nil:
	case !shared:
		l.Forbidden(at, "allowMultipleAllocations must be true")
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		l.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(p.ValidValues) > 0 && p.Default == nil:
		l.Required(at.Child("default"), "required when validValues is defined")
	case p.ValidRange != nil && p.Default == nil:
		l.Required(at.Child("default"), "required when validRange is defined")
	case len(p.ValidValues) > 0:
		validValues(l, *p.Default, c.Value, p.ValidValues, at.Child("validValues"))
	case p.ValidRange != nil:
		validRange(l, *p.Default, c.Value, p.ValidRange, at.Child("validRange"))
	}
}

func validValues(l *check.List, otherwise, most resource.Quantity, values []resource.Quantity, path *field.Path) {
	const limit = 10
	if len(values) > limit {
		l.Add(field.TooMany(path, len(values), limit))
		return
	}
	found := false
	for i, v := range values {
		if i > 0 && values[i-1].Cmp(v) > 0 {
			l.Invalid(path.Index(i), v.String(), "values must be sorted in ascending order")
		}
		if i > 0 && values[i-1].Cmp(v) == 0 {
			l.Duplicate(path.Index(i), v.String())
		}
		if v.Cmp(most) > 0 {
			l.Invalid(path.Index(i), v.String(), "option is larger than capacity value: "+most.String())
		}
		found = found || v.Cmp(otherwise) == 0
	}
	if !found {
		l.Invalid(path, otherwise.String(), "default value is not valid according to the requestPolicy")
	}
}

func validRange(l *check.List, otherwise, most resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, path *field.Path) {
	if r.Min == nil {
		l.Required(path.Child("min"), "required when validRange is defined")
		return
	}
	if r.Min.Cmp(most) > 0 {
		l.Invalid(path.Child("min"), r.Min.String(), "min is larger than capacity value: "+most.String())
	}
	if otherwise.Cmp(*r.Min) < 0 {
		l.Invalid(path.Child("default"), otherwise.String(), "default is less than min: "+r.Min.String())
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			l.Invalid(path.Child("max"), r.Min.String(), "min is larger than max: "+r.Max.String())
		}
		if r.Max.Cmp(most) > 0 {
			l.Invalid(path.Child("max"), r.Max.String(), "max is larger than capacity value: "+most.String())
		}
		if otherwise.Cmp(*r.Max) > 0 {
			l.Invalid(path.Child("default"), otherwise.String(), "default is more than max: "+r.Max.String())
		}
	}
	if r.Step != nil {
		steps(l, otherwise, most, r, path)
	}
}

// steps checks that the default and the maximum are a whole number of steps
// above the minimum.
func steps(l *check.List, otherwise, most resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, path *field.Path) {
	at := path.Child("step")
	if r.Step.Sign() <= 0 {
		l.Invalid(at, r.Step.String(), check.MustBePositive)
		return
	}
	one := r.Min.DeepCopy()
	one.Add(*r.Step)
	if one.Cmp(most) > 0 {
		l.Invalid(at, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", one.String(), most.String()))
	}
	countable := true
	for _, q := range []struct {
		name  string
		value *resource.Quantity
	}{{"default", &otherwise}, {"min", r.Min}, {"max", r.Max}, {"step", r.Step}} {
		switch {
		case q.value == nil:
		case q.value.Sign() < 0:
			l.Invalid(path.Child(q.name), q.value.String(), check.MustNotBeNegative)
			countable = false
		case q.value.CmpInt64(math.MaxInt64) > 0:
			l.Invalid(path.Child(q.name), q.value.String(), "must not be larger than 9223372036854775807")
			countable = false
		}
	}
	if !countable {
		return
	}
	for _, q := range []*resource.Quantity{&otherwise, r.Max} {
		if q != nil && (q.Value()-r.Min.Value())%r.Step.Value() != 0 {
			l.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))
		}
	}
}

func taint(l *check.List, t *resourcev1.DeviceTaint, path *field.Path) {
	l.Add(metav1validation.ValidateLabelName(t.Key, path.Child("key"))...)
	if t.Value != "" {
		labelValue(l, t.Value, path.Child("value"))
	}
}

// nodeResources checks what of the node's own resources a device takes.
func nodeResources(l *check.List, d *resourcev1.Device, path *field.Path) {
	for _, name := range check.Keys(d.NodeAllocatableResources) {
		r, at := d.NodeAllocatableResources[name], path.Key(string(name))
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage && !check.IsHugePage(name) {
			l.Invalid(at, name, "must be a node allocatable resource name")
		}
		if r.Mapping == nil && r.Overhead == nil {
			l.Required(at, "at least one of mapping or overhead must be set")
		}
		if m := r.Mapping; m != nil {
			mapped(l, m, d, at.Child("mapping"))
		}
		if o := r.Overhead; o != nil {
			here := at.Child("overhead")
			if o.PerPod == nil && o.PerContainer == nil {
				l.Invalid(here, "", "at least one of perPod or perContainer must be set")
			}
			for _, q := range []struct {
				name  string
				value *resource.Quantity
			}{{"perPod", o.PerPod}, {"perContainer", o.PerContainer}} {
				if q.value != nil && q.value.Sign() < 0 {
					l.Invalid(here.Child(q.name), q.value.String(), "must be non-negative")
				}
			}
		}
	}
}

func mapped(l *check.List, m *resourcev1.NodeAllocatableMapping, d *resourcev1.Device, path *field.Path) {
	if m.CapacityKey != nil {
		at := path.Child("capacityKey")
		if *m.CapacityKey == "" {
			l.Invalid(at, "", "capacityKey must not be an empty string")
		} else if _, ok := d.Capacity[*m.CapacityKey]; !ok {
			l.Add(field.NotFound(at, *m.CapacityKey))
		}
	}
	for _, q := range []struct {
		name  string
		value *resource.Quantity
	}{{"capacityMultiplier", m.CapacityMultiplier}, {"deviceMultiplier", m.DeviceMultiplier}} {
		if q.value != nil && q.value.Sign() <= 0 {
			l.Invalid(path.Child(q.name), q.value.String(), "must be positive")
		}
	}
}
