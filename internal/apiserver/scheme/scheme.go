// Package scheme builds the type registry of the API server: every version of
// every Kubernetes type under its own name, and for each kind one version as
// the hub that the server works with in memory.
//
// The hub is the versioned Go type itself, registered a second time under the
// internal version. Converting between the two is therefore no work at all;
// functions exist only for kinds that are served in two versions.
package scheme

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// New returns the registry for rows. Defaulting functions are registered by
// the caller.
func New(rows []resources.Resource) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(s, v1)
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, apiregistrationv1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	s.AddUnversionedTypes(v1, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})

	addHubs(s, rows)
	if err := prioritise(s, rows); err != nil {
		return nil, err
	}
	for _, add := range []func(*runtime.Scheme) error{
		addEvents, addAutoscaling, addEvictions, addConnectOptions,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("register conversions: %w", err)
		}
	}
	if err := addPreviews(s, rows); err != nil {
		return nil, fmt.Errorf("register conversions: %w", err)
	}
	return s, addFieldLabels(s, rows)
}

// addHubs registers one version of each kind as internal: that of its row, or
// else the most mature one.
func addHubs(s *runtime.Scheme, rows []resources.Resource) {
	internal := map[schema.GroupKind]reflect.Type{}
	for _, r := range rows {
		internal[schema.GroupKind{Group: r.GroupVersion.Group, Kind: r.Kind}] = reflect.TypeOf(r.New()).Elem()
		if r.NewList != nil {
			internal[schema.GroupKind{Group: r.GroupVersion.Group, Kind: r.Kind + "List"}] = reflect.TypeOf(r.NewList()).Elem()
		}
	}
	known := s.AllKnownTypes()
	gvks := slices.SortedFunc(maps.Keys(known), func(a, b schema.GroupVersionKind) int {
		if a.Group != b.Group {
			return strings.Compare(a.Group, b.Group)
		}
		if a.Version != b.Version {
			return apimachineryversion.CompareKubeAwareVersionStrings(b.Version, a.Version)
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	for _, gvk := range gvks {
		t := known[gvk]
		// events has its hub in the core group; see addEvents.
		if gvk.Version == runtime.APIVersionInternal || gvk.Group == "events.k8s.io" || isMeta(t) {
			continue
		}
		if _, found := internal[gvk.GroupKind()]; !found {
			internal[gvk.GroupKind()] = t
		}
	}
	for gk, t := range internal {
		gvk := gk.WithVersion(runtime.APIVersionInternal)
		if !s.Recognizes(gvk) {
			s.AddKnownTypeWithName(gvk, reflect.New(t).Interface().(runtime.Object))
		}
	}
}

// isMeta tells the options and events that every group version carries from
// the kinds of the group itself.
func isMeta(t reflect.Type) bool { return strings.HasSuffix(t.PkgPath(), "apis/meta/v1") }

// prioritise puts the hub first, then the versions that are also served, then
// the rest by age: the order in which clients are offered versions.
func prioritise(s *runtime.Scheme, rows []resources.Resource) error {
	order := map[string][]schema.GroupVersion{}
	add := func(gv schema.GroupVersion) {
		if !slices.Contains(order[gv.Group], gv) {
			order[gv.Group] = append(order[gv.Group], gv)
		}
	}
	for _, r := range rows {
		if resources.Stability(r.GroupVersion) == "ga" {
			add(r.GroupVersion)
		}
	}
	for _, r := range rows {
		add(r.GroupVersion)
		for _, gv := range r.ServedAs {
			add(gv)
		}
	}
	for group, gvs := range order {
		if err := s.SetVersionPriority(gvs...); err != nil {
			return fmt.Errorf("versions of group %q: %w", group, err)
		}
	}
	return nil
}

// addFieldLabels tells which field selectors each kind takes, in every version
// that serves it. A kind without fields of its own is left to the scheme, which
// takes name and namespace, and the latter of a cluster's objects too.
func addFieldLabels(s *runtime.Scheme, rows []resources.Resource) error {
	for _, r := range rows {
		if r.SelectableFields == nil {
			continue
		}
		own := map[string]string{"metadata.name": "metadata.name"}
		if !r.ClusterScoped {
			own["metadata.namespace"] = "metadata.namespace"
		}
		for label := range r.SelectableFields(r.New()) {
			own[label] = label
		}
		for label := range r.UnsaidFields {
			own[label] = label
		}
		for _, gv := range append([]schema.GroupVersion{r.GroupVersion}, r.ServedAs...) {
			gvk := gv.WithKind(r.Kind)
			if err := s.AddFieldLabelConversionFunc(gvk, fieldLabels(gvk, own, r.UnsaidFields)); err != nil {
				return fmt.Errorf("field labels of %s: %w", gvk, err)
			}
		}
	}
	return nil
}

// impossible is a value that no field has.
const impossible = "\x00"

// fieldLabels takes the field labels of a kind, which its hub calls own, and what is
// asked for, which the hub leaves unsaid where that is what most objects have.
func fieldLabels(gvk schema.GroupVersionKind, own, unsaid map[string]string) runtime.FieldLabelConversionFunc {
	unknown := "field label not supported: %s"
	switch gvk.GroupKind() {
	case schema.GroupKind{Group: "events.k8s.io", Kind: "Event"}:
		own = eventLabels()
	case schema.GroupKind{Kind: "Pod"}:
		own = maps.Clone(own)
		own["spec.host"] = "spec.nodeName" // what clients before v1 send
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		unknown = "field label %q not supported for Job"
	case schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceSlice"}:
		unknown = "field label not supported for " + gvk.String() + ": %s"
	case schema.GroupKind{Group: "certificates.k8s.io", Kind: "PodCertificateRequest"}:
		own = maps.Clone(own)
		delete(own, "metadata.namespace")
	}
	return func(label, value string) (string, string, error) {
		hub, ok := own[label]
		if !ok {
			return "", "", fmt.Errorf(unknown, label)
		}
		switch common, sparse := unsaid[hub]; {
		case sparse && value == common:
			value = ""
		case sparse && value == "":
			value = impossible // it is never empty
		}
		return hub, value, nil
	}
}
