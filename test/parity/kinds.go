package main

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// kind is a resource that objects are sent to.
type kind struct {
	schema.GroupVersionKind
	resource   string
	namespaced bool
	update     bool
	status     bool // has a status of its own to write
}

// path is where the kind's objects are, in the namespace if they have one.
func (k kind) path(namespace string, rest ...string) string {
	parts := []string{"/apis", k.Group, k.Version}
	if k.Group == "" {
		parts = []string{"/api", k.Version}
	}
	if k.namespaced {
		parts = append(parts, "namespaces", namespace)
	}
	return path.Join(append(append(parts, k.resource), rest...)...)
}

// kinds are those that can be created, in the version of each group that the server
// prefers, in order; wanted chooses some by resource.
func kinds(ctx context.Context, s *server, wanted []string) ([]kind, error) {
	client, err := discovery.NewDiscoveryClientForConfigAndClient(&rest.Config{Host: s.base}, s.client)
	if err != nil {
		return nil, err
	}
	groups, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	if err != nil {
		return nil, err
	}
	preferred := map[string]bool{}
	for _, g := range groups {
		preferred[g.PreferredVersion.GroupVersion] = true
	}
	var found []kind
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		if !preferred[list.GroupVersion] {
			continue
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "create") || len(wanted) > 0 && !slices.Contains(wanted, r.Name) {
				continue
			}
			found = append(found, kind{
				GroupVersionKind: gv.WithKind(r.Kind), resource: r.Name, namespaced: r.Namespaced,
				update: slices.Contains(r.Verbs, "update"), status: hasStatus(list.APIResources, r.Name),
			})
		}
	}
	slices.SortFunc(found, func(a, b kind) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.resource, b.resource)) })
	return found, nil
}

func hasStatus(resources []metav1.APIResource, name string) bool {
	return slices.ContainsFunc(resources, func(r metav1.APIResource) bool { return r.Name == name+"/status" })
}
