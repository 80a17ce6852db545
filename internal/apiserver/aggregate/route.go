package aggregate

import (
	"context"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func metaGroupVersion(gv schema.GroupVersion) metav1.GroupVersion {
	return metav1.GroupVersion{Group: gv.Group, Version: gv.Version}
}

// builtIn are the group versions that are served here from the start.
func (a *Aggregator) builtIn(ctx context.Context) []schema.GroupVersion {
	out := []schema.GroupVersion{{Version: "v1"}}
	groups, err := a.host.Groups.Groups(ctx, &http.Request{})
	if err != nil {
		return out // the groups are in memory and do not fail
	}
	custom := a.o.Custom.Groups()
	for _, g := range groups {
		if _, ok := custom[g.Name]; ok || a.remote(g.Name) {
			continue
		}
		for _, v := range g.Versions {
			out = append(out, schema.GroupVersion{Group: g.Name, Version: v.Version})
		}
	}
	return out
}

func (a *Aggregator) remote(group string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.versions(group)) != 0
}

// versions are those of a group that other servers answer for, newest first.
// The caller holds mu.
func (a *Aggregator) versions(group string) []string {
	var out []string
	for _, s := range a.servers {
		if s.object.Spec.Group == group {
			out = append(out, s.object.Spec.Version)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	return out
}

func (a *Aggregator) about(group string) metav1.APIGroup {
	g := metav1.APIGroup{Name: group}
	for _, v := range a.versions(group) {
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + v, Version: v})
	}
	if len(g.Versions) != 0 {
		g.PreferredVersion = g.Versions[0]
	}
	return g
}

// publishGroup tells the older form of discovery of a group. The caller holds
// mu.
func (a *Aggregator) publishGroup(group string) {
	if slices.ContainsFunc(a.built, func(gv schema.GroupVersion) bool { return gv.Group == group }) {
		return
	}
	if g := a.about(group); len(g.Versions) != 0 {
		a.host.Groups.AddGroup(g)
	} else {
		a.host.Groups.RemoveGroup(group)
	}
	a.host.Mapper.Reset()
}

// replace passes requests for what is served here too to the server that
// somebody has registered for it.
func (a *Aggregator) replace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.any.Load() || !strings.HasPrefix(r.URL.Path, "/apis/"+metrics+"/") {
			next.ServeHTTP(w, r)
			return
		}
		a.route(next).ServeHTTP(w, r)
	})
}

// route passes requests for other servers' group versions to them.
func (a *Aggregator) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		if len(parts) < 2 || parts[0] != "apis" {
			next.ServeHTTP(w, r)
			return
		}
		a.mu.RLock()
		if len(parts) == 2 {
			g := a.about(parts[1])
			a.mu.RUnlock()
			if len(g.Versions) == 0 {
				next.ServeHTTP(w, r)
				return
			}
			discovery.NewAPIGroupHandler(scheme.Codecs, g).ServeHTTP(w, r)
			return
		}
		s := a.servers[name(schema.GroupVersion{Group: parts[1], Version: parts[2]})]
		a.mu.RUnlock()
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// Paths are the group versions that other servers describe.
func (a *Aggregator) Paths() map[string]string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := map[string]string{}
	for _, s := range a.servers {
		if hash := s.document.Load(); hash != nil && *hash != "" && s.available.Load() {
			out[strings.Trim(s.path(), "/")] = *hash
		}
	}
	return out
}

// V3 lets the other server describe itself.
func (a *Aggregator) V3(path string) (*spec3.OpenAPI, http.Handler, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, s := range a.servers {
		if strings.Trim(s.path(), "/") == path {
			return nil, s, nil
		}
	}
	return nil, nil, fs.ErrNotExist
}

// V2 adds nothing: the older document would have to be fetched and merged
// from every server, for clients that all know v3.
func (a *Aggregator) V2() ([]*spec.Swagger, string, error) { return nil, "", nil }
