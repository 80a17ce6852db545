package backend

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"k8s.io/utils/dump"
)

// Sort puts ports, or sets of addresses, in the order in which Kubernetes writes them:
// that of their hashes. Who compares two objects then finds them the same.
func Sort[T any](all []T) {
	if len(all) < 2 {
		return
	}
	type item struct {
		hash  string
		value T
	}
	items := make([]item, len(all))
	for i := range all {
		items[i] = item{hash(all[i]), all[i]}
	}
	slices.SortStableFunc(items, func(a, b item) int { return strings.Compare(a.hash, b.hash) })
	for i := range items {
		all[i] = items[i].value
	}
}

func hash(value any) string {
	h := fnv.New128a()
	fmt.Fprintf(h, "%v", dump.ForHash(value))
	return hex.EncodeToString(h.Sum(nil))
}
