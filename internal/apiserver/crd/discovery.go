package crd

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints"
	apidiscovery "k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/client-go/tools/cache"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Priorities of the groups and versions of custom resources, as upstream's.
const (
	groupPriority   = 1000
	versionPriority = 100
)

// discovery tells clients of the established definitions.
type discovery struct {
	host      *plug.Host
	crds      listers.CustomResourceDefinitionLister
	synced    func() bool
	resources aggregated.ResourceManager

	mu      sync.RWMutex
	groups  map[string]group // guarded by mu
	changes chan struct{}    // holds one
}

// group is one API group of custom resources.
type group struct {
	about    metav1.APIGroup
	versions map[string][]metav1.APIResource
}

func newDiscovery(h *plug.Host, crds informers.CustomResourceDefinitionInformer) (*discovery, error) {
	d := &discovery{
		host: h, crds: crds.Lister(), synced: crds.Informer().HasSynced,
		resources: h.Resources.WithSource(aggregated.CRDSource),
		groups:    map[string]group{},
		changes:   make(chan struct{}, 1),
	}
	_, err := crds.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { d.changed(obj) },
		UpdateFunc: func(old, obj any) {
			if !same(old, obj) { // no mere resync
				d.changed(obj)
			}
		},
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			d.changed(obj)
		},
	})
	return d, err
}

func same(old, obj any) bool {
	a, oldOK := old.(metav1.Object)
	b, ok := obj.(metav1.Object)
	return oldOK && ok && a.GetResourceVersion() == b.GetResourceVersion()
}

func (d *discovery) changed(obj any) {
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok && d.synced() {
		d.refresh(crd.Spec.Group)
	}
}

// fill publishes all groups, once the informer is filled.
func (d *discovery) fill() {
	groups := map[string]bool{}
	all, _ := d.crds.List(labels.Everything()) // a cache does not fail
	for _, crd := range all {
		groups[crd.Spec.Group] = true
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		d.refresh(name)
	}
}

// refresh publishes what there is of one group now.
func (d *discovery) refresh(name string) {
	all, _ := d.crds.List(labels.Everything()) // a cache does not fail
	crds := slices.DeleteFunc(all, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return crd.Spec.Group != name || !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established)
	})
	slices.SortFunc(crds, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return cmp.Compare(a.Name, b.Name) })
	now := describe(name, crds)

	defer d.tell()
	d.mu.Lock()
	defer d.mu.Unlock()
	before, known := d.groups[name]
	if len(now.versions) == 0 {
		if known {
			delete(d.groups, name)
			d.host.Groups.RemoveGroup(name)
			d.resources.RemoveGroup(name)
			d.host.Mapper.Reset()
		}
		return
	}
	for v := range before.versions {
		if _, still := now.versions[v]; !still {
			d.resources.RemoveGroupVersion(metav1.GroupVersion{Group: name, Version: v})
		}
	}
	for v, resources := range now.versions {
		d.publish(schema.GroupVersion{Group: name, Version: v}, resources)
	}
	d.groups[name] = now
	d.host.Groups.AddGroup(now.about)
	d.host.Mapper.Reset()
}

func (d *discovery) publish(gv schema.GroupVersion, resources []metav1.APIResource) {
	described, err := endpoints.ConvertGroupVersionIntoToDiscovery(withKind(gv, resources))
	if err != nil {
		d.host.Log.Error("custom resources not published", "group", gv.Group, "version", gv.Version, "err", err)
		return
	}
	d.resources.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
		Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
		Version:   gv.Version,
		Resources: described,
	})
	d.resources.SetGroupVersionPriority(metav1.GroupVersion(gv), groupPriority, versionPriority)
}

// withKind names the group version of every kind, which the older document
// leaves out where it is the document's own.
func withKind(gv schema.GroupVersion, resources []metav1.APIResource) []metav1.APIResource {
	out := slices.Clone(resources)
	for i := range out {
		if out[i].Version == "" {
			out[i].Group, out[i].Version = gv.Group, gv.Version
		}
	}
	return out
}

// describe is what discovery says of the definitions of a group.
func describe(name string, crds []*apiextensionsv1.CustomResourceDefinition) group {
	g := group{versions: map[string][]metav1.APIResource{}}
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			if v.Served {
				g.versions[v.Name] = append(g.versions[v.Name], resources(crd, v)...)
			}
		}
	}
	if len(g.versions) == 0 {
		return g
	}
	g.about = metav1.APIGroup{Name: name}
	newestFirst := func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) }
	for _, v := range slices.SortedFunc(maps.Keys(g.versions), newestFirst) {
		g.about.Versions = append(g.about.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
	}
	g.about.PreferredVersion = g.about.Versions[0]
	return g
}

// resources are a definition's resource and subresources in one version.
func resources(crd *apiextensionsv1.CustomResourceDefinition, v apiextensionsv1.CustomResourceDefinitionVersion) []metav1.APIResource {
	verbs := metav1.Verbs{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	if apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Terminating) {
		verbs = metav1.Verbs{"delete", "deletecollection", "get", "list", "watch"}
	}
	names, namespaced := crd.Status.AcceptedNames, crd.Spec.Scope == apiextensionsv1.NamespaceScoped
	main := metav1.APIResource{
		Name: names.Plural, SingularName: names.Singular, Kind: names.Kind, ShortNames: names.ShortNames,
		Categories: names.Categories, Namespaced: namespaced, Verbs: verbs,
	}
	for _, stored := range crd.Spec.Versions {
		if stored.Storage {
			main.StorageVersionHash = apidiscovery.StorageVersionHash(crd.Spec.Group, stored.Name, names.Kind)
		}
	}
	out := []metav1.APIResource{main}
	write := metav1.Verbs{"get", "patch", "update"}
	if v.Subresources != nil && v.Subresources.Status != nil {
		out = append(out, metav1.APIResource{Name: names.Plural + "/status", Kind: names.Kind, Namespaced: namespaced, Verbs: write})
	}
	if v.Subresources != nil && v.Subresources.Scale != nil {
		out = append(out, metav1.APIResource{
			Name: names.Plural + "/scale", Group: autoscalingv1.GroupName, Version: "v1", Kind: "Scale", Namespaced: namespaced, Verbs: write,
		})
	}
	return out
}

func (d *discovery) tell() {
	select {
	case d.changes <- struct{}{}:
	default:
	}
}

// Groups are the versions of custom resources that are served, by group.
func (c *Custom) Groups() map[string][]string {
	c.discovery.mu.RLock()
	defer c.discovery.mu.RUnlock()
	out := make(map[string][]string, len(c.discovery.groups))
	for name, g := range c.discovery.groups {
		out[name] = slices.Sorted(maps.Keys(g.versions))
	}
	return out
}

// Changed tells one listener that Groups may have changed.
func (c *Custom) Changed() <-chan struct{} { return c.discovery.changes }

// handler returns what answers the path of a group or version, nil when it
// is not one of ours.
func (d *discovery) handler(path string) http.Handler {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] != "apis" {
		return nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	g, ok := d.groups[parts[1]]
	if !ok {
		return nil
	}
	if len(parts) == 2 {
		return apidiscovery.NewAPIGroupHandler(apiserver.Codecs, g.about)
	}
	list, ok := g.versions[parts[2]]
	if !ok {
		return nil
	}
	gv := schema.GroupVersion{Group: parts[1], Version: parts[2]}
	return apidiscovery.NewAPIVersionHandler(apiserver.Codecs, gv, apidiscovery.APIResourceListerFunc(func() []metav1.APIResource { return list }))
}
