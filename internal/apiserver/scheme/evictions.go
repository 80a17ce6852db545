package scheme

import (
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addEvictions makes policy/v1 the hub of evictions: clients older than that
// version still send them as policy/v1beta1, of which nothing else is served.
func addEvictions(s *runtime.Scheme) error {
	if err := s.AddConversionFunc((*policyv1beta1.Eviction)(nil), (*policyv1.Eviction)(nil), func(from, to any, _ conversion.Scope) error {
		in, out := from.(*policyv1beta1.Eviction), to.(*policyv1.Eviction)
		out.ObjectMeta, out.DeleteOptions = in.ObjectMeta, in.DeleteOptions
		return nil
	}); err != nil {
		return err
	}
	return s.AddConversionFunc((*policyv1.Eviction)(nil), (*policyv1beta1.Eviction)(nil), func(from, to any, _ conversion.Scope) error {
		in, out := from.(*policyv1.Eviction), to.(*policyv1beta1.Eviction)
		out.ObjectMeta, out.DeleteOptions = in.ObjectMeta, in.DeleteOptions
		return nil
	})
}
