package aggregate

import (
	"cmp"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/kube-aggregator/pkg/apiserver/scheme"
)

// listGroups answers the list of the groups in the order of their priority: a
// client takes a resource that several groups have from the first of them.
func (a *Aggregator) listGroups(next http.Handler) http.Handler {
	list := aggregated.WrapAggregatedDiscoveryToHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		groups, err := a.host.Groups.Groups(r.Context(), r)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		responsewriters.WriteObjectNegotiated(scheme.Codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r,
			http.StatusOK, &metav1.APIGroupList{Groups: inOrder(groups, a.places())}, false)
	}), next, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis" && r.URL.Path != "/apis/" {
			next.ServeHTTP(w, r)
			return
		}
		list.ServeHTTP(w, r)
	})
}

// places is the priority of every group.
func (a *Aggregator) places() map[string]int32 {
	out := map[string]int32{}
	for _, gv := range a.built {
		out[gv.Group] = max(out[gv.Group], priorities(local{GroupVersion: gv}).group)
	}
	objects, _ := a.objects.List(labels.Everything()) // a cache does not fail
	for _, o := range objects {
		out[o.Spec.Group] = max(out[o.Spec.Group], o.Spec.GroupPriorityMinimum)
	}
	return out
}

// inOrder puts the groups with the highest place first. All are at the address
// at which the client asked, which the list therefore leaves out.
func inOrder(groups []metav1.APIGroup, places map[string]int32) []metav1.APIGroup {
	out := slices.Clone(groups)
	for i := range out {
		out[i].ServerAddressByClientCIDRs = nil
	}
	slices.SortFunc(out, func(a, b metav1.APIGroup) int {
		return cmp.Or(cmp.Compare(places[b.Name], places[a.Name]), cmp.Compare(a.Name, b.Name))
	})
	return out
}
