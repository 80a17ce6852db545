package resources

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Stability is how settled a version is: "ga", "beta" or "alpha".
func Stability(gv schema.GroupVersion) string {
	switch {
	case strings.Contains(gv.Version, "alpha"):
		return "alpha"
	case strings.Contains(gv.Version, "beta"):
		return "beta"
	}
	return "ga"
}

// Enabled returns the rows of table that a server with the given runtime
// configuration serves, each in the versions that are switched on. The keys are
// those of kube-apiserver's --runtime-config: "api/all", "api/ga", "api/beta",
// "api/alpha", a group version ("resource.k8s.io/v1beta1", "v1"), or a group
// version and a resource ("coordination.k8s.io/v1beta1/leasecandidates"); the
// more particular one decides. Without any, what is settled is served, and what
// the row says is served by default.
func Enabled(table []Resource, config map[string]bool) ([]Resource, error) {
	if err := known(table, config); err != nil {
		return nil, err
	}
	var rows []Resource
	for _, r := range table {
		on := func(gv schema.GroupVersion) bool { return switchedOn(gv, r, config) }
		off := func(gv schema.GroupVersion) bool { return !on(gv) }
		served := slices.DeleteFunc(slices.Clone(r.ServedAs), off)
		served = append(served, slices.DeleteFunc(slices.Clone(r.Previews), off)...)
		if !on(r.GroupVersion) && len(served) == 0 {
			continue
		}
		r.ServedAs, r.Previews = served, nil
		rows = append(rows, r)
	}
	return rows, nil
}

func switchedOn(gv schema.GroupVersion, r Resource, config map[string]bool) bool {
	stability := Stability(gv)
	on := stability == "ga" || r.Default && gv == r.GroupVersion
	for _, key := range []string{"api/all", "api/" + stability, gv.String(), gv.String() + "/" + r.Plural} {
		if v, ok := config[key]; ok {
			on = v
		}
	}
	return on
}

// known refuses keys that switch nothing.
func known(table []Resource, config map[string]bool) error {
	keys := map[string]bool{"api/all": true, "api/ga": true, "api/beta": true, "api/alpha": true}
	for _, r := range table {
		for _, gv := range slices.Concat([]schema.GroupVersion{r.GroupVersion}, r.ServedAs, r.Previews) {
			keys[gv.String()], keys[gv.String()+"/"+r.Plural] = true, true
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !keys[key] {
			errs = append(errs, fmt.Errorf("%s: there is no such API; name a group version such as resource.k8s.io/v1beta1, or api/beta", key))
		}
	}
	return errors.Join(errs...)
}
