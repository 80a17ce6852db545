// Package served tells which kinds of objects an API server serves, for those
// who work on all of them: it asks discovery and keeps nothing.
package served

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Kind is one kind and where its objects are found.
type Kind struct {
	Resource   schema.GroupVersionResource
	Kind       schema.GroupVersionKind
	Namespaced bool
	Verbs      []string
}

// Can says whether all these verbs work on the kind.
func (k Kind) Can(verbs ...string) bool {
	for _, v := range verbs {
		if !slices.Contains(k.Verbs, v) {
			return false
		}
	}
	return true
}

// Kinds is what a server serves.
type Kinds struct {
	// Preferred has every resource once, in its preferred version.
	Preferred []Kind
	// ByKind has every version of every kind.
	ByKind map[schema.GroupVersionKind]Kind
	// Failed are the versions of groups whose server did not answer: what they
	// serve is not known now.
	Failed map[schema.GroupVersion]error
}

// Ask asks the server. It fails only if the server answers nothing at all.
func Ask(d discovery.DiscoveryInterface) (Kinds, error) {
	k := Kinds{ByKind: map[schema.GroupVersionKind]Kind{}}
	groups, lists, err := d.ServerGroupsAndResources()
	if failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err); partial {
		k.Failed = failed
	} else if err != nil {
		return k, fmt.Errorf("ask which resources are served: %w", err)
	}
	byVersion := make(map[string]*metav1.APIResourceList, len(lists))
	for _, list := range lists {
		byVersion[list.GroupVersion] = list
	}
	for _, group := range groups {
		k.addGroup(group, byVersion)
	}
	return k, nil
}

func (k *Kinds) addGroup(group *metav1.APIGroup, byVersion map[string]*metav1.APIResourceList) {
	versions := []string{group.PreferredVersion.GroupVersion}
	for _, v := range group.Versions {
		if v.GroupVersion != group.PreferredVersion.GroupVersion {
			versions = append(versions, v.GroupVersion)
		}
	}
	known := map[string]bool{}
	for _, version := range versions {
		gv, err := schema.ParseGroupVersion(version)
		if err != nil || byVersion[version] == nil {
			continue
		}
		for _, r := range byVersion[version].APIResources {
			if strings.Contains(r.Name, "/") {
				continue
			}
			kind := Kind{Resource: gv.WithResource(r.Name), Kind: gv.WithKind(r.Kind), Namespaced: r.Namespaced, Verbs: r.Verbs}
			k.ByKind[kind.Kind] = kind
			if !known[r.Name] {
				known[r.Name] = true
				k.Preferred = append(k.Preferred, kind)
			}
		}
	}
}
