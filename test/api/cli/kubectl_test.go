package cli

import (
	"testing"
)

// scripts are the names of testdata.
var scripts = []string{"apply", "change", "cluster", "create", "describe", "get", "nodes", "rollout"}

// TestKubectl runs everything of kubectl that needs no real containers against one
// cluster.
func TestKubectl(t *testing.T) {
	c := start(t)
	for _, name := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.script(t, name)
		})
	}
}
