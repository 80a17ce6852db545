package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
)

// Node checks a new node.
func Node(n *corev1.Node) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&n.ObjectMeta, false, apivalidation.NameIsDNSSubdomain)}
	nodeAnnotations(&l, n.Annotations, field.NewPath("metadata", "annotations"))
	l.Add(placement.Taints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	nodeAmounts(&l, n)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil && *swap.Capacity <= 0 {
		l.Invalid(field.NewPath("metadata", "nodeSwapStatus", "capacity"), *swap.Capacity, check.MustBePositive)
	}
	declaredFeatures(&l, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	podCIDRs(&l, n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))
	return l.Errors
}

var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

// declaredFeatures checks what a node says that it can do: names in order.
func declaredFeatures(l *check.List, list []string, path *field.Path) {
	const longest = validation.DNS1123SubdomainMaxLength
	for i, name := range list {
		if len(name) > longest {
			l.Invalid(path.Index(i), name, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", name, longest))
		} else if !featureName.MatchString(name) {
			l.Invalid(path.Index(i), name, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments "+
				"separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", name))
		}
		switch {
		case i == 0:
		case name == list[i-1]:
			l.Duplicate(path.Index(i), name)
		case name < list[i-1]:
			l.Invalid(path.Index(i), name, "list must be sorted alphabetically")
		}
	}
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
	for i, n := range networks {
		l.CIDR(path.Index(i), n)
	}
	if len(networks) < 2 {
		return
	}
	dual, err := netutils.IsDualStackCIDRStrings(networks)
	if err != nil {
		l.Add(field.InternalError(path, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !dual || len(networks) > 2 {
		l.Invalid(path, networks, "may specify no more than one CIDR for each IP family")
	}
}

// NodeUpdate checks a changed node, as a new one and against what it was.
func NodeUpdate(n, old *corev1.Node) field.ErrorList {
	return append(Node(n), NodeStatusUpdate(n, old)...)
}

// NodeStatusUpdate checks what may change of a node.
func NodeStatusUpdate(n, old *corev1.Node) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	nodeAnnotations(&l, n.Annotations, field.NewPath("metadata", "annotations"))
	nodeAmounts(&l, n)
	declaredFeatures(&l, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			l.Duplicate(field.NewPath("status", "addresses").Index(i), a)
		}
		seen.Insert(a)
	}
	if was := old.Spec.PodCIDRs; len(was) > 0 {
		if !slices.Equal(was, n.Spec.PodCIDRs) {
			l.Forbidden(field.NewPath("spec", "podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
		}
	}
	if id := old.Spec.ProviderID; id != "" && id != n.Spec.ProviderID {
		detail := "field cannot be modified once set"
		if n.Spec.ProviderID == "" {
			detail = "field cannot be cleared once set"
		}
		l.Invalid(field.NewPath("spec", "providerID"), nil, detail)
	}
	nodeConfig(&l, n)
	l.Add(placement.Taints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		l.Forbidden(field.NewPath("spec", "externalID"), "may not be updated")
	}
	return l.Errors
}

// nodeAnnotations checks what old versions kept in annotations.
func nodeAnnotations(l *check.List, a map[string]string, path *field.Path) {
	if text := a[corev1.TaintsAnnotationKey]; text != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(text), &taints); err != nil {
			l.Invalid(path, corev1.TaintsAnnotationKey, err.Error())
		} else {
			l.Add(placement.Taints(taints, path.Child(corev1.TaintsAnnotationKey))...)
		}
	}
	text := a[corev1.PreferAvoidPodsAnnotationKey]
	if text == "" {
		return
	}
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		l.Invalid(path.Child("AvoidPods"), corev1.PreferAvoidPodsAnnotationKey, err.Error())
		return
	}
	for i := range avoid.PreferAvoidPods {
		at := path.Child(corev1.PreferAvoidPodsAnnotationKey).Index(i).Child("PodSignature")
		owner := avoid.PreferAvoidPods[i].PodSignature.PodController
		switch {
		case owner == nil:
			l.Required(at, "")
		case !check.Deref(owner.Controller, false):
			l.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller")
		}
	}
}

// nodeConfig checks the kubelet's dynamic configuration, which nobody reads any
// more but which old nodes may still have.
func nodeConfig(l *check.List, n *corev1.Node) {
	if source := n.Spec.ConfigSource; source != nil {
		nodeConfigSource(l, source, false, field.NewPath("spec", "configSource"))
	}
	config := n.Status.Config
	if config == nil {
		return
	}
	for _, one := range []struct {
		name   string
		source *corev1.NodeConfigSource
	}{{"assigned", config.Assigned}, {"active", config.Active}, {"lastKnownGood", config.LastKnownGood}} {
		if one.source != nil {
			nodeConfigSource(l, one.source, true, field.NewPath("status", "config", one.name))
		}
	}
}

// nodeConfigSource checks a reference: in the status it says which object it
// found, in the spec it does not.
func nodeConfigSource(l *check.List, source *corev1.NodeConfigSource, found bool, path *field.Path) {
	c, at := source.ConfigMap, path.Child("configMap")
	if c == nil {
		l.Invalid(path, source, "exactly one reference subfield must be non-nil")
		return
	}
	for _, f := range []struct{ name, value string }{{"uid", string(c.UID)}, {"resourceVersion", c.ResourceVersion}} {
		switch {
		case found && f.value == "":
			l.Required(at.Child(f.name), f.name+" must be set in status")
		case !found && f.value != "":
			l.Forbidden(at.Child(f.name), f.name+" must not be set in spec")
		}
	}
	for _, f := range []struct {
		name, value string
		rule        func(string) []string
	}{
		{"namespace", c.Namespace, func(v string) []string { return apivalidation.ValidateNamespaceName(v, false) }},
		{"name", c.Name, func(v string) []string { return apivalidation.NameIsDNSSubdomain(v, false) }},
		{"kubeletConfigKey", c.KubeletConfigKey, validation.IsConfigMapKey},
	} {
		if f.value == "" {
			l.Required(at.Child(f.name), f.name+" must be set")
		} else {
			l.Messages(at.Child(f.name), f.value, f.rule(f.value))
		}
	}
}
