package aggregate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestPlan(t *testing.T) {
	apps := local{GroupVersion: schema.GroupVersion{Group: "apps", Version: "v1"}}
	custom := local{GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, custom: true}
	moved := object(apps)
	moved.Spec.GroupPriorityMinimum = 1
	foreign := object(apps)
	foreign.Labels = nil
	foreign.Spec.Service = &apiregistrationv1.ServiceReference{Name: "s", Namespace: "n"}
	stranger := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.other.example.com"}}
	for _, c := range []struct {
		name                   string
		served                 []local
		have                   []*apiregistrationv1.APIService
		create, update, remove []string
	}{
		{"nothing is there", []local{apps, custom}, nil, []string{"v1.apps", "v1.example.com"}, nil, nil},
		{"all is there", []local{apps, custom}, []*apiregistrationv1.APIService{object(apps), object(custom)}, nil, nil, nil},
		{"a definition has gone", []local{apps}, []*apiregistrationv1.APIService{object(apps), object(custom)}, nil, nil, []string{"v1.example.com"}},
		{"a priority has changed", []local{apps}, []*apiregistrationv1.APIService{moved}, nil, []string{"v1.apps"}, nil},
		{"groups without an object", []local{
			{GroupVersion: schema.GroupVersion{Group: metrics, Version: "v1beta1"}},
			{GroupVersion: apiregistrationv1.SchemeGroupVersion},
		}, nil, nil, nil, nil},
		{"somebody else answers", []local{apps}, []*apiregistrationv1.APIService{foreign, stranger}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(c.served, c.have)
			for _, pair := range []struct {
				what string
				want []string
				got  []*apiregistrationv1.APIService
			}{{"create", c.create, got.create}, {"update", c.update, got.update}, {"remove", c.remove, got.remove}} {
				var names []string
				for _, o := range pair.got {
					names = append(names, o.Name)
				}
				if diff := cmp.Diff(pair.want, names); diff != "" {
					t.Errorf("%s (-want +got):\n%s", pair.what, diff)
				}
			}
		})
	}
}

func TestPriorities(t *testing.T) {
	for _, c := range []struct {
		group, version string
		custom         bool
		want           priority
	}{
		{"", "v1", false, priority{18000, 1}},
		{"events.k8s.io", "v1", false, priority{17750, 15}},
		{"apiextensions.k8s.io", "v1", false, priority{16700, 15}},
		{"admissionregistration.k8s.io", "v1", false, priority{16700, 15}},
		{"autoscaling", "v1", false, priority{17500, 15}},
		{"autoscaling", "v2", false, priority{17500, 30}},
		{"resource.k8s.io", "v1", false, priority{16200, 21}},
		{"resource.k8s.io", "v1beta1", false, priority{16200, 9}},
		{"flowcontrol.apiserver.k8s.io", "v1", false, priority{16100, 21}},
		{"storagemigration.k8s.io", "v1", false, priority{15800, 15}},
		{"example.com", "v1", true, priority{1000, 100}},
		{"metrics.k8s.io", "v1beta1", false, priority{1000, 15}},
	} {
		gv := schema.GroupVersion{Group: c.group, Version: c.version}
		if got := priorities(local{GroupVersion: gv, custom: c.custom}); got != c.want {
			t.Errorf("%s: %v, want %v", gv, got, c.want)
		}
	}
}

func TestInOrder(t *testing.T) {
	group := func(name string) metav1.APIGroup {
		return metav1.APIGroup{Name: name, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0"}}}
	}
	got := inOrder([]metav1.APIGroup{group("b"), group("a"), group("last"), group("first")}, map[string]int32{"first": 3, "a": 2, "b": 2})
	var names []string
	for _, g := range got {
		names = append(names, g.Name)
		if g.ServerAddressByClientCIDRs != nil {
			t.Errorf("%s names its address", g.Name)
		}
	}
	if diff := cmp.Diff([]string{"first", "a", "b", "last"}, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
