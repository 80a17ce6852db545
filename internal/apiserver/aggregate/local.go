package aggregate

import (
	"cmp"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// managed marks an APIService that this package made. The values are
// upstream's: made at the start, or kept in step.
const (
	managed        = "kube-aggregator.kubernetes.io/automanaged"
	managedOnStart = "onstart"
	managedAlways  = "true"
)

// metrics is the one built-in group that users give to a server of theirs. It has
// no object but theirs: elsewhere an add-on makes it, and that add-on's chart does
// not install where it finds one. Upstream has none of the group of the
// APIServices themselves either.
const metrics = "metrics.k8s.io"

// local is a group version that is served here.
type local struct {
	schema.GroupVersion
	custom bool // it comes and goes with definitions
}

func name(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// priority says where a group version stands, for clients that look for a
// resource without naming its group or version.
type priority struct{ group, version int32 }

const (
	customPriority        = 1000
	customVersionPriority = 100
	versionPriority       = 15
	previewPriority       = 9
)

// builtInPriorities are upstream's.
func builtInPriorities() map[schema.GroupVersion]priority {
	out := map[schema.GroupVersion]priority{
		{Version: "v1"}:                                             {18000, 1},
		{Group: "autoscaling", Version: "v2"}:                       {17500, 30},
		{Group: "resource.k8s.io", Version: "v1"}:                   {16200, 21},
		{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}:      {16100, 21},
		{Group: "resource.k8s.io", Version: "v1beta2"}:              {16200, 15},
		{Group: "admissionregistration.k8s.io", Version: "v1beta1"}: {16700, 12},
		{Group: "coordination.k8s.io", Version: "v1beta1"}:          {16500, 13},
		{Group: "coordination.k8s.io", Version: "v1alpha2"}:         {16500, 12},
		{Group: "resource.k8s.io", Version: "v1alpha3"}:             {16200, 1},
	}
	for group, place := range map[string]int32{
		apiregistrationv1.GroupName: 20000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
		"authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300,
		"networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800,
		"apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
		"coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
		"flowcontrol.apiserver.k8s.io": 16100, "storagemigration.k8s.io": 15800,
	} {
		for version, place := range map[string]priority{
			"v1": {place, versionPriority}, "v1beta1": {place, previewPriority}, "v1alpha1": {place, previewPriority},
		} {
			if gv := (schema.GroupVersion{Group: group, Version: version}); out[gv] == (priority{}) {
				out[gv] = place
			}
		}
	}
	return out
}

func priorities(l local) priority {
	if l.custom {
		return priority{customPriority, customVersionPriority}
	}
	if p, ok := builtInPriorities()[l.GroupVersion]; ok {
		return p
	}
	return priority{customPriority, versionPriority}
}

func object(l local) *apiregistrationv1.APIService {
	place := priorities(l)
	mark := managedOnStart
	if l.custom {
		mark = managedAlways
	}
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: name(l.GroupVersion), Labels: map[string]string{managed: mark}},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: l.Group, Version: l.Version, GroupPriorityMinimum: place.group, VersionPriority: place.version,
		},
	}
}

// change is what has to be written.
type change struct {
	create, update, remove []*apiregistrationv1.APIService
}

// plan compares the objects that are there with the group versions that are
// served. What carries no mark of ours is somebody else's and left alone, so
// that a group can be given to another server.
func plan(served []local, have []*apiregistrationv1.APIService) (c change) {
	byName := map[string]*apiregistrationv1.APIService{}
	for _, h := range have {
		byName[h.Name] = h
	}
	wanted := map[string]bool{}
	for _, l := range served {
		if l.Group == metrics || l.Group == apiregistrationv1.GroupName {
			continue
		}
		want := object(l)
		wanted[want.Name] = true
		h, ok := byName[want.Name]
		switch {
		case !ok:
			c.create = append(c.create, want)
		case h.Labels[managed] != "" && !reflect.DeepEqual(h.Spec, want.Spec):
			changed := h.DeepCopy()
			changed.Spec = want.Spec
			c.update = append(c.update, changed)
		}
	}
	for _, h := range have {
		if h.Labels[managed] != "" && !wanted[h.Name] {
			c.remove = append(c.remove, h)
		}
	}
	slices.SortFunc(c.remove, func(a, b *apiregistrationv1.APIService) int { return cmp.Compare(a.Name, b.Name) })
	return c
}
