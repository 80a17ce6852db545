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
	stablePriority        = 15
	previewPriority       = 9
)

// groupPriority is upstream's place of a built-in group among all.
func groupPriority(group string) (place int32, ok bool) {
	switch group {
	case "":
		return 18000, true
	case apiregistrationv1.GroupName:
		return 20000, true
	case "apps":
		return 17800, true
	case "events.k8s.io":
		return 17750, true
	case "authentication.k8s.io":
		return 17700, true
	case "authorization.k8s.io":
		return 17600, true
	case "autoscaling":
		return 17500, true
	case "batch":
		return 17400, true
	case "certificates.k8s.io":
		return 17300, true
	case "networking.k8s.io":
		return 17200, true
	case "policy":
		return 17100, true
	case "rbac.authorization.k8s.io":
		return 17000, true
	case "storage.k8s.io":
		return 16800, true
	case "apiextensions.k8s.io", "admissionregistration.k8s.io":
		return 16700, true
	case "scheduling.k8s.io":
		return 16600, true
	case "coordination.k8s.io":
		return 16500, true
	case "node.k8s.io":
		return 16300, true
	case "discovery.k8s.io", "resource.k8s.io":
		return 16200, true
	case "flowcontrol.apiserver.k8s.io":
		return 16100, true
	case "storagemigration.k8s.io":
		return 15800, true
	}
	return 0, false
}

// versionPriority is upstream's place of a version among those of its built-in group.
func versionPriority(gv schema.GroupVersion) (place int32, ok bool) {
	switch gv.String() {
	case "v1", "resource.k8s.io/v1alpha3":
		return 1, true
	case "autoscaling/v2":
		return 30, true
	case "flowcontrol.apiserver.k8s.io/v1", "resource.k8s.io/v1":
		return 21, true
	case "coordination.k8s.io/v1beta1":
		return 13, true
	case "admissionregistration.k8s.io/v1beta1", "coordination.k8s.io/v1alpha2":
		return 12, true
	case "resource.k8s.io/v1beta2":
		return stablePriority, true
	}
	switch gv.Version {
	case "v1":
		return stablePriority, true
	case "v1beta1", "v1alpha1":
		return previewPriority, true
	}
	return 0, false
}

func priorities(l local) priority {
	if l.custom {
		return priority{customPriority, customVersionPriority}
	}
	group, known := groupPriority(l.Group)
	version, listed := versionPriority(l.GroupVersion)
	if !known || !listed {
		return priority{customPriority, stablePriority}
	}
	return priority{group, version}
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
