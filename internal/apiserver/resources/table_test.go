package resources

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/scheme"
)

// Every row must name a registered kind by its right type, and render as many
// cells as it has columns even for an object with nothing in it.
func TestTableIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	prefixes := map[string]string{}
	for _, r := range Table() {
		gvk := r.GroupVersion.WithKind(r.Kind)
		if key := r.GroupVersion.Group + "/" + r.Plural; seen[key] {
			t.Errorf("%s occurs twice", key)
		} else {
			seen[key] = true
		}
		if other, ok := prefixes[r.StoragePrefix]; ok {
			t.Errorf("%s and %s share the storage prefix %q", gvk, other, r.StoragePrefix)
		}
		prefixes[r.StoragePrefix] = gvk.String()

		kinds, _, err := scheme.Scheme.ObjectKinds(r.New())
		if err != nil || kinds[0] != gvk {
			t.Errorf("%s: New makes %v (%v)", gvk, kinds, err)
		}
		kinds, _, err = scheme.Scheme.ObjectKinds(r.NewList())
		if err != nil || kinds[0] != r.GroupVersion.WithKind(r.Kind+"List") {
			t.Errorf("%s: NewList makes %v (%v)", gvk, kinds, err)
		}
		plural, singular := meta.UnsafeGuessKindToResource(gvk)
		if plural.Resource != r.Plural && r.Plural != "endpoints" {
			t.Errorf("%s: plural %q, want %q", gvk, r.Plural, plural.Resource)
		}
		if singular.Resource != r.Singular {
			t.Errorf("%s: singular %q, want %q", gvk, r.Singular, singular.Resource)
		}
		if (r.Columns == nil) != (r.Cells == nil) {
			t.Errorf("%s: columns and cells must come together", gvk)
		}
		// Upstream's addresses have an age that no column shows.
		if r.Cells != nil && len(r.Cells(r.New())) != len(r.Columns) && r.Kind != "IPAddress" {
			t.Errorf("%s: %d cells for %d columns", gvk, len(r.Cells(r.New())), len(r.Columns))
		}
		for _, c := range r.Columns {
			if c.Description == "" && r.Kind != "RuntimeClass" {
				t.Errorf("%s: column %s has no description", gvk, c.Name)
			}
		}
	}
}
