package limits

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Check returns what of obj, a pod or a claim, a limit range does not allow.
func Check(obj runtime.Object, r *corev1.LimitRange) []error {
	var errs []error
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		switch obj := obj.(type) {
		case *corev1.Pod:
			errs = append(errs, checkPod(obj, item)...)
		case *corev1.PersistentVolumeClaim:
			if item.Type == corev1.LimitTypePersistentVolumeClaim {
				errs = append(errs, checkClaim(obj, item)...)
			}
		}
	}
	return errs
}

func checkPod(pod *corev1.Pod, item *corev1.LimitRangeItem) []error {
	var errs []error
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				errs = append(errs, checkItem(item, list[i].Resources.Requests, list[i].Resources.Limits)...)
			}
		}
	case corev1.LimitTypePod:
		options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		errs = checkItem(item, resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options))
	}
	return errs
}

// ask is what is asked of one resource, in units that keep a thousandth where
// the numbers are small enough for it.
type ask struct {
	request, limit, enforced int64
	hasRequest, hasLimit     bool
	requestText, limitText   string
}

func newAsk(name corev1.ResourceName, enforced resource.Quantity, requests, limits corev1.ResourceList) ask {
	request, hasRequest := requests[name]
	limit, hasLimit := limits[name]
	a := ask{hasRequest: hasRequest, hasLimit: hasLimit, requestText: request.String(), limitText: limit.String()}
	value := func(q resource.Quantity) int64 { return q.Value() }
	const most = math.MaxInt64 / 1000
	if request.Value() <= most && limit.Value() <= most && enforced.Value() <= most {
		value = func(q resource.Quantity) int64 { return q.MilliValue() }
	}
	a.request, a.limit, a.enforced = value(request), value(limit), value(enforced)
	return a
}

func checkItem(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	for name, q := range item.Min {
		errs = appendIf(errs, atLeast(item.Type, name, q, newAsk(name, q, requests, limits)))
	}
	for name, q := range item.Max {
		errs = appendIf(errs, atMost(item.Type, name, q, newAsk(name, q, requests, limits)))
	}
	for name, q := range item.MaxLimitRequestRatio {
		errs = appendIf(errs, ratio(item.Type, name, q, newAsk(name, q, requests, limits)))
	}
	return errs
}

func appendIf(errs []error, err error) []error {
	if err == nil {
		return errs
	}
	return append(errs, err)
}

func atLeast(of corev1.LimitType, name corev1.ResourceName, q resource.Quantity, a ask) error {
	switch {
	case !a.hasRequest:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, of, q.String())
	case a.request < a.enforced:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, of, q.String(), a.requestText)
	case a.hasLimit && a.limit < a.enforced:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, of, q.String(), a.limitText)
	}
	return nil
}

func atMost(of corev1.LimitType, name corev1.ResourceName, q resource.Quantity, a ask) error {
	switch {
	case !a.hasLimit:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, of, q.String())
	case a.limit > a.enforced:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, of, q.String(), a.limitText)
	case a.hasRequest && a.request > a.enforced:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, of, q.String(), a.requestText)
	}
	return nil
}

func ratio(of corev1.LimitType, name corev1.ResourceName, q resource.Quantity, a ask) error {
	switch {
	case !a.hasRequest || a.request == 0:
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, of, q.String())
	case !a.hasLimit || a.limit == 0:
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, of, q.String())
	}
	observed := float64(a.limit) / float64(a.request)
	// The bound is a plain number, whatever units the asks were scaled to.
	if observed > q.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, of, q.String(), observed)
	}
	return nil
}

// checkClaim looks at requests alone: a claim has no limit.
func checkClaim(pvc *corev1.PersistentVolumeClaim, item *corev1.LimitRangeItem) []error {
	var errs []error
	requests := pvc.Spec.Resources.Requests
	for name, q := range item.Min {
		errs = appendIf(errs, atLeast(item.Type, name, q, newAsk(name, q, requests, nil)))
	}
	for name, q := range item.Max {
		a := newAsk(name, q, requests, nil)
		switch {
		case !a.hasRequest:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, q.String()))
		case a.request > a.enforced:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, q.String(), a.requestText))
		}
	}
	return errs
}
