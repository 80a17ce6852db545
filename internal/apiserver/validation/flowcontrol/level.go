package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// PriorityLevel checks a new priority level.
func PriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&p.ObjectMeta, rule.Subdomain)}
	path := field.NewPath("spec")
	if _, ok := p.Annotations[flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey]; ok {
		l.Forbidden(field.NewPath("metadata", "annotations"),
			fmt.Sprintf("annotation '%s' is forbidden", flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey))
	}
	levelSpec(&l, p.Name, &p.Spec, path)
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		want, except := fixed.Spec.DeepCopy(), ""
		if p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			want.Exempt, except = p.Spec.Exempt, " except the 'spec.exempt' field"
		}
		if fixed.Name == p.Name && !apiequality.Semantic.DeepEqual(p.Spec, *want) {
			l.Invalid(path, p.Spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", p.Name, except))
		}
	}
	levelStatus(&l, p)
	return l.Errors
}

// PriorityLevelUpdate checks a changed priority level.
func PriorityLevelUpdate(p, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return rule.All(rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta), PriorityLevel(p))
}

// PriorityLevelStatusUpdate checks what is reported of a priority level.
func PriorityLevelStatusUpdate(p, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l check.List
	levelStatus(&l, p)
	return l.Errors
}

func levelStatus(l *check.List, p *flowcontrolv1.PriorityLevelConfiguration) {
	var types []string
	for _, c := range p.Status.Conditions {
		types = append(types, string(c.Type))
	}
	conditions(l, types)
}

func levelSpec(l *check.List, name string, s *flowcontrolv1.PriorityLevelConfigurationSpec, path *field.Path) {
	if (name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		l.Invalid(path.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	check.RequiredOneOf(l, path.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	exemptPath, limitedPath := path.Child("exempt"), path.Child("limited")
	isExempt, isLimited := s.Type == flowcontrolv1.PriorityLevelEnablementExempt, s.Type == flowcontrolv1.PriorityLevelEnablementLimited
	if s.Exempt != nil && !isExempt {
		l.Forbidden(exemptPath, "")
	}
	if s.Limited != nil && !isLimited {
		l.Forbidden(limitedPath, "")
	}
	switch {
	case isExempt && s.Exempt != nil:
		if n := s.Exempt.NominalConcurrencyShares; n != nil && *n < 0 {
			l.Invalid(exemptPath.Child("nominalConcurrencyShares"), *n, "must be a non-negative integer")
		}
		lendable(l, s.Exempt.LendablePercent, exemptPath)
	case isLimited && s.Limited == nil:
		l.Required(limitedPath, "")
	case isLimited:
		limited(l, s.Limited, limitedPath)
	}
	if s.Limited != nil {
		response(l, &s.Limited.LimitResponse, limitedPath.Child("limitResponse"), isLimited)
	}
}

func lendable(l *check.List, percent *int32, path *field.Path) {
	if percent != nil && (*percent < 0 || *percent > 100) {
		l.Invalid(path.Child("lendablePercent"), *percent, "must be between 0 and 100, inclusive")
	}
}

func limited(l *check.List, c *flowcontrolv1.LimitedPriorityLevelConfiguration, path *field.Path) {
	if n := check.Deref(c.NominalConcurrencyShares, 0); n < 0 {
		l.Invalid(path.Child("nominalConcurrencyShares"), n, "must be a non-negative integer")
	}
	lendable(l, c.LendablePercent, path)
	if p := c.BorrowingLimitPercent; p != nil && *p < 0 {
		l.Invalid(path.Child("borrowingLimitPercent"), *p, "if specified, must be a non-negative integer")
	}
}

// response checks what happens to requests that have to wait. Of a level that is
// not limited only the form is looked at.
func response(l *check.List, r *flowcontrolv1.LimitResponse, path *field.Path, whole bool) {
	at := path.Child("queuing")
	switch queues := r.Type == flowcontrolv1.LimitResponseTypeQueue; {
	case r.Queuing != nil && !queues:
		l.Forbidden(at, "")
	case r.Queuing == nil && queues:
		l.Required(at, "")
	case queues && whole:
		queuing(l, r.Queuing, at)
	}
	if r.Type == "" || whole {
		check.RequiredOneOf(l, path.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
}

func queuing(l *check.List, q *flowcontrolv1.QueuingConfiguration, path *field.Path) {
	const mostQueues = 10_000_000
	if q.QueueLengthLimit <= 0 {
		l.Invalid(path.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	switch {
	case q.Queues <= 0:
		l.Invalid(path.Child("queues"), q.Queues, "must be positive")
	case q.Queues > mostQueues:
		l.Invalid(path.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", mostQueues))
	}
	hand := path.Child("handSize")
	switch {
	case q.HandSize <= 0:
		l.Invalid(hand, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		l.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	default:
		if bits := shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)); bits > shufflesharding.MaxHashBits {
			l.Invalid(hand, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d",
				q.Queues, q.HandSize, shufflesharding.MaxHashBits))
		}
	}
}
