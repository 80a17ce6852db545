package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSwitches(t *testing.T) {
	got, err := switches([]string{"api/beta", "apps/v1=false", "resource.k8s.io/v1beta1=true"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"api/beta": true, "apps/v1": false, "resource.k8s.io/v1beta1": true}, got); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"apps/v1=maybe", "=true", "apps/v1="} {
		if _, err := switches([]string{wrong}); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}
