package dynamicresource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// DeviceClass checks a new class.
func DeviceClass(c *resourcev1.DeviceClass) field.ErrorList {
	return rule.All(rule.Cluster(&c.ObjectMeta, rule.Subdomain), classSpec(&c.Spec, nil))
}

// DeviceClassUpdate checks a changed class.
func DeviceClassUpdate(c, old *resourcev1.DeviceClass) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), classSpec(&c.Spec, &old.Spec))
}

// classSpec leaves selectors and configuration alone that stay as they were.
func classSpec(s, old *resourcev1.DeviceClassSpec) field.ErrorList {
	path := field.NewPath("spec")
	var l check.List
	if old == nil || !apiequality.Semantic.DeepEqual(s.Selectors, old.Selectors) {
		selectors(&l, s.Selectors, path.Child("selectors"))
	}
	stored := old != nil && apiequality.Semantic.DeepEqual(s.Config, old.Config)
	if len(s.Config) <= resourcev1.DeviceConfigMaxSize {
		for i := range s.Config {
			configuration(&l, &s.Config[i].DeviceConfiguration, stored, path.Child("config").Index(i))
		}
	}
	return merge(run(resourcev1.Validate_DeviceClassSpec, s, old, path), l.Errors)
}

// DeviceTaintRule checks a new rule.
func DeviceTaintRule(r *resourcev1.DeviceTaintRule) field.ErrorList {
	return rule.All(rule.Cluster(&r.ObjectMeta, rule.Subdomain), taintRuleSpec(&r.Spec, nil))
}

// DeviceTaintRuleUpdate checks a changed rule.
func DeviceTaintRuleUpdate(r, old *resourcev1.DeviceTaintRule) field.ErrorList {
	return rule.All(rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta), taintRuleSpec(&r.Spec, &old.Spec))
}

func taintRuleSpec(s, old *resourcev1.DeviceTaintRuleSpec) field.ErrorList {
	path := field.NewPath("spec")
	var l check.List
	if f, at := s.DeviceSelector, path.Child("deviceSelector"); f != nil {
		if f.Driver != nil {
			driver(&l, *f.Driver, at.Child("driver"))
		}
		if f.Pool != nil {
			pool(&l, *f.Pool, at.Child("pool"))
		}
		if f.Device != nil {
			l.Label(at.Child("device"), *f.Device)
		}
	}
	taint(&l, &s.Taint, path.Child("taint"))
	return merge(run(resourcev1.Validate_DeviceTaintRuleSpec, s, old, path), l.Errors)
}

// DeviceTaintRuleStatusUpdate checks what the controller of taints writes.
func DeviceTaintRuleStatusUpdate(r, old *resourcev1.DeviceTaintRule) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta)}
	at := field.NewPath("status", "conditions")
	l.Add(metav1validation.ValidateConditions(r.Status.Conditions, at)...)
	if n := len(r.Status.Conditions); n > resourcev1.DeviceTaintRuleStatusMaxConditions {
		l.Add(field.TooMany(at, n, resourcev1.DeviceTaintRuleStatusMaxConditions))
	}
	return l.Errors
}
