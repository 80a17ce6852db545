package resources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// versions are what a row of the table is served as, the own version first.
func versions(t *testing.T, resource string, config map[string]bool) []string {
	t.Helper()
	rows, err := Enabled(Table(), config)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		if r.Plural != resource {
			continue
		}
		out = append(out, r.GroupVersion.Version)
		for _, gv := range r.ServedAs {
			out = append(out, gv.Version)
		}
	}
	return out
}

func TestEnabled(t *testing.T) {
	for _, tc := range []struct {
		resource string
		config   map[string]bool
		want     []string
	}{
		{"resourceclaims", nil, []string{"v1"}},
		{"leasecandidates", nil, nil},
		{"podgroups", nil, []string{"v1beta1"}},
		{"podgroups", map[string]bool{"api/beta": false}, nil},
		{"resourceclaims", map[string]bool{"api/beta": true}, []string{"v1", "v1beta2", "v1beta1"}},
		{"resourceclaims", map[string]bool{"resource.k8s.io/v1beta2": true}, []string{"v1", "v1beta2"}},
		{"deviceclasses", map[string]bool{"resource.k8s.io/v1beta2/resourceclaims": true}, []string{"v1"}},
		{"leasecandidates", map[string]bool{"coordination.k8s.io/v1beta1": true}, []string{"v1beta1"}},
		{"leasecandidates", map[string]bool{"api/all": true}, []string{"v1beta1", "v1alpha2"}},
		{"mutatingadmissionpolicies", map[string]bool{"api/all": true, "api/alpha": false}, []string{"v1", "v1beta1"}},
		{"deployments", map[string]bool{"apps/v1": false}, nil},
		{"deployments", map[string]bool{"apps/v1": false, "apps/v1/deployments": true}, []string{"v1"}},
		{"pods", map[string]bool{"v1": true}, []string{"v1"}},
		{"horizontalpodautoscalers", nil, []string{"v2", "v1"}},
	} {
		if diff := cmp.Diff(tc.want, versions(t, tc.resource, tc.config)); diff != "" {
			t.Errorf("%s with %v: %s", tc.resource, tc.config, diff)
		}
	}
	if _, err := Enabled(Table(), map[string]bool{"apps/v2": true}); err == nil {
		t.Error("a version that there is not was taken")
	}
}
