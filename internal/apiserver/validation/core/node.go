package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
)

// Node checks a new node.
func Node(n *corev1.Node) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&n.ObjectMeta, false, apivalidation.NameIsDNSSubdomain)}
	l.Add(placement.Taints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	nodeAmounts(&l, n)
	podCIDRs(&l, n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))
	return l.Errors
}

func nodeAmounts(l *check.List, n *corev1.Node) {
	for _, list := range []struct {
		name    string
		amounts corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		for _, name := range check.Keys(list.amounts) {
			l.Quantity(field.NewPath("status", list.name, string(name)), name, list.amounts[name])
		}
	}
}

func podCIDRs(l *check.List, networks []string, path *field.Path) {
	seen := sets.New[string]()
	for i, n := range networks {
		l.CIDR(path.Index(i), n)
		if seen.Has(n) {
			l.Duplicate(path.Index(i), n)
		}
		seen.Insert(n)
	}
	if len(networks) < 2 {
		return
	}
	if dual, err := netutils.IsDualStackCIDRStrings(networks); err != nil || !dual || len(networks) > 2 {
		l.Invalid(path, networks, "may specify no more than one CIDR for each IP family")
	}
}

// NodeUpdate checks a changed node, be it its spec or its status.
func NodeUpdate(n, old *corev1.Node) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	nodeAmounts(&l, n)
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			l.Duplicate(field.NewPath("status", "addresses").Index(i), a)
		}
		seen.Insert(a)
	}
	if was := old.Spec.PodCIDRs; len(was) > 0 {
		same := len(was) == len(n.Spec.PodCIDRs)
		for i := 0; same && i < len(was); i++ {
			same = was[i] == n.Spec.PodCIDRs[i]
		}
		if !same {
			l.Forbidden(field.NewPath("spec", "podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
		}
	} else {
		podCIDRs(&l, n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))
	}
	if id := old.Spec.ProviderID; id != "" && id != n.Spec.ProviderID {
		l.Forbidden(field.NewPath("spec", "providerID"), "node updates may not change providerID except from \"\" to valid")
	}
	l.Add(placement.Taints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		l.Forbidden(field.NewPath("spec", "externalID"), "may not be updated")
	}
	return l.Errors
}
