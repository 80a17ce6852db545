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
// not install where it finds one.
const metrics = "metrics.k8s.io"

// local is a group version that is served here.
type local struct {
	schema.GroupVersion
	custom bool // it comes and goes with definitions
}

func name(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// groupPriority orders the built-in groups as upstream does, for clients that
// look for a resource without naming its group.
func groupPriority(group string) int32 {
	order := []string{
		"apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
		"certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
		"apiextensions.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io", "coordination.k8s.io",
		"node.k8s.io", "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io", "storagemigration.k8s.io",
		"apiregistration.k8s.io",
	}
	const core, first, step = 18000, 17800, 100
	if group == "" {
		return core
	}
	if i := slices.Index(order, group); i >= 0 {
		return int32(first - step*i)
	}
	return customPriority
}

// Priorities of the groups of custom resources, as upstream's.
const (
	customPriority        = 1000
	customVersionPriority = 100
	versionPriority       = 15
	newerVersionPriority  = 30
)

func priorities(l local) (group, version int32) {
	switch {
	case l.custom:
		return customPriority, customVersionPriority
	case l.Version != "v1":
		return groupPriority(l.Group), newerVersionPriority
	}
	return groupPriority(l.Group), versionPriority
}

func object(l local) *apiregistrationv1.APIService {
	group, version := priorities(l)
	mark := managedOnStart
	if l.custom {
		mark = managedAlways
	}
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: name(l.GroupVersion), Labels: map[string]string{managed: mark}},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: l.Group, Version: l.Version, GroupPriorityMinimum: group, VersionPriority: version,
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
		if l.Group == metrics {
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
