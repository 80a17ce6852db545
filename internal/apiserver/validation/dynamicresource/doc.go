// Package dynamicresource decides whether device classes, resource claims and
// their templates, resource slices and device taint rules are valid, in the
// field paths and words that Kubernetes uses. The rules that the types
// themselves declare are run as they are published with them; what they do not
// declare (expressions, references between fields, sums) is written here. Its
// functions are pure.
package dynamicresource

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// declared is a rule set that a type publishes.
type declared[T any] func(ctx context.Context, op operation.Operation, path *field.Path, obj, old *T) field.ErrorList

// run applies declared rules. Those that are marked as alpha are not in force.
func run[T any](rules declared[T], obj, old *T, path *field.Path) field.ErrorList {
	op := operation.Operation{Type: operation.Create, Options: map[string]bool{
		"DRAPartitionableDevicesType": false, // alpha
	}}
	if old != nil {
		op.Type = operation.Update
	}
	errs := rules(context.Background(), op, path, obj, old)
	return slices.DeleteFunc(errs, func(e *field.Error) bool { return e.IsAlpha() })
}

// merge appends what is written here to what the types declare: of two errors
// of one type about one field, the declared one is enough.
func merge(declared, written field.ErrorList) field.ErrorList {
	type fault struct {
		of    field.ErrorType
		field string
	}
	seen := map[fault]bool{}
	for _, e := range declared {
		seen[fault{e.Type, e.Field}] = true
	}
	for _, e := range written {
		if !seen[fault{e.Type, e.Field}] {
			declared = append(declared, e)
		}
	}
	return declared
}

// requests are the names of a claim's requests with those of their
// alternatives.
type requests map[string]sets.Set[string]

func requestsOf(c *resourcev1.DeviceClaim) requests {
	names := requests{}
	for i := range c.Requests {
		r := &c.Requests[i]
		subs := sets.New[string]()
		for j := range r.FirstAvailable {
			subs.Insert(r.FirstAvailable[j].Name)
		}
		names[r.Name] = subs
	}
	return names
}

// reference checks that name is that of a request, or of a request and one of
// its alternatives.
func (r requests) reference(l *check.List, name string, path *field.Path) {
	const unknown = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		l.Invalid(path, name, unknown)
		return
	}
	for _, p := range parts {
		l.Label(path, p)
	}
	subs, found := r[parts[0]]
	if !found || len(parts) == 2 && !subs.Has(parts[1]) {
		l.Invalid(path, name, unknown)
	}
}

func (r requests) references(l *check.List, names []string, path *field.Path) {
	if len(names) > resourcev1.DeviceRequestsMaxSize {
		l.Add(field.TooMany(path, len(names), resourcev1.DeviceRequestsMaxSize))
		return
	}
	for i, name := range names {
		r.reference(l, name, path.Index(i))
	}
}

// budget is what the expressions of one claim may cost together.
type budget struct{ spent uint64 }

// expression compiles one; spent is nil for selectors, which have a limit
// each.
func expression(l *check.List, text string, path *field.Path, derived *budget) {
	if len(text) > resourcev1.CELSelectorExpressionMaxLength {
		l.Add(field.TooLong(path, "", resourcev1.CELSelectorExpressionMaxLength))
		return
	}
	fresh := environment.NewExpressions
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).
		CompileCELExpression(text, dracel.Options{EnvType: &fresh, DerivedAttribute: derived != nil})
	if result.Error != nil {
		l.Uncompilable(path, text, result.Error)
		return
	}
	if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		l.Forbidden(path, "too complex, exceeds cost limit")
	}
	if derived != nil {
		derived.spent += result.MaxCost
	}
}

func selectors(l *check.List, list []resourcev1.DeviceSelector, path *field.Path) {
	if len(list) > resourcev1.DeviceSelectorsMaxSize {
		l.Add(field.TooMany(path, len(list), resourcev1.DeviceSelectorsMaxSize))
		return
	}
	for i := range list {
		at := path.Index(i).Child("cel")
		if list[i].CEL == nil {
			l.Required(at, "")
			continue
		}
		expression(l, list[i].CEL.Expression, at.Child("expression"), nil)
	}
}

func configuration(l *check.List, c *resourcev1.DeviceConfiguration, stored bool, path *field.Path) {
	at := path.Child("opaque")
	if c.Opaque == nil {
		l.Required(at, "")
		return
	}
	driver(l, c.Opaque.Driver, at.Child("driver"))
	limit := resourcev1.OpaqueParametersMaxLength
	if stored {
		limit = -1
	}
	object(l, c.Opaque.Parameters.Raw, limit, at.Child("parameters"))
}

// object checks that raw is a JSON object; limit below zero is none.
func object(l *check.List, raw []byte, limit int, path *field.Path) {
	var value any
	switch {
	case len(raw) == 0:
		l.Required(path, "")
		return
	case limit >= 0 && len(raw) > limit:
		l.Add(field.TooLong(path, "", limit))
		return
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		l.Invalid(path, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
		return
	}
	if value == nil {
		l.Required(path, "")
		return
	}
	if _, ok := value.(map[string]any); !ok {
		l.Invalid(path, "<value omitted>", "must be a valid JSON object")
	}
}

func driver(l *check.List, name string, path *field.Path) {
	l.Add(volume.CSIDriverName(name, path)...)
}

func pool(l *check.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		l.Add(field.TooLong(path, "", resourcev1.PoolNameMaxLength))
	}
	for part := range strings.SplitSeq(name, "/") {
		l.Subdomain(path, part)
	}
}

// attribute checks the name of an attribute or capacity, which may be
// prefixed by a domain.
func attribute(l *check.List, name string, path *field.Path) {
	domain, id, divided := strings.Cut(name, "/")
	if strings.Contains(id, "/") {
		l.Invalid(path, name, "must not contain more than one slash")
		return
	}
	if !divided {
		identifier(l, name, path)
		return
	}
	if domain == "" {
		l.Invalid(path, "", "the domain must not be empty")
	} else {
		driver(l, domain, path)
	}
	if id == "" {
		l.Invalid(path, "", "the name must not be empty")
	} else {
		identifier(l, id, path)
	}
}

func identifier(l *check.List, id string, path *field.Path) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		l.Add(field.TooLong(path, "", resourcev1.DeviceMaxIDLength))
	}
	l.Messages(path, id, validation.IsCIdentifier(id))
}

func labelValue(l *check.List, value string, path *field.Path) {
	l.Messages(path, value, validation.IsValidLabelValue(value))
}

func toleration(l *check.List, t *resourcev1.DeviceToleration, path *field.Path) {
	if t.Key != "" {
		l.Add(metav1validation.ValidateLabelName(t.Key, path.Child("key"))...)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			l.Invalid(path.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		labelValue(l, t.Value, path.Child("value"))
	}
}

// bindings checks the conditions that a device waits for before pods are bound.
func bindings(l *check.List, wait, fail []string, path *field.Path) {
	at, failAt := path.Child("bindingConditions"), path.Child("bindingFailureConditions")
	for _, list := range []struct {
		names []string
		path  *field.Path
	}{{wait, at}, {fail, failAt}} {
		for i, name := range list.names {
			l.Add(metav1validation.ValidateLabelName(name, list.path.Index(i))...)
			if slices.Contains(list.names[:i], name) {
				l.Duplicate(list.path.Index(i), name)
			}
		}
	}
	for i, name := range fail {
		if slices.Contains(wait, name) {
			l.Invalid(failAt.Index(i), name, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(wait) == 0 && len(fail) > 0 {
		l.Invalid(at, wait, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(fail) == 0 && len(wait) > 0 {
		l.Invalid(failAt, fail, "bindingFailureConditions are required to use bindingConditions")
	}
}

func skipped(l *check.List, list []resourcev1.SkipNodeOperation, path *field.Path) {
	if slices.Contains(list, resourcev1.SkipNodeOperationNodePrepareResources) &&
		!slices.Contains(list, resourcev1.SkipNodeOperationNodeUnprepareResources) &&
		!slices.Contains(list, resourcev1.SkipNodeOperationAll) {
		l.Invalid(path, list, "NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped")
	}
}
