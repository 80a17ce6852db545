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
