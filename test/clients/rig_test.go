package clients

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/lab/images"
	"github.com/sinawi/sinawi/lab/labtest"
)

// program builds one of the programs, unless the build cache has it, and returns
// its path.
func program(t *testing.T, pkg string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-n", pkg)
	cmd.Dir = "programs"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, problems.String())
	}
	return strings.TrimSpace(string(out))
}

// module fetches a Go module and returns its folder: charts are published in some.
func module(t testing.TB, version string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", version)
	cmd.Dir = t.TempDir() // outside of any module
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fetch %s: %v\n%s", version, err, out)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Dir
}

// cluster is one real node.
type cluster struct{ *labtest.Machine }

// start brings a node up that has the image of the tests' own chart.
func start(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{labtest.New(t)}
	c.Up()
	busybox := images.BusyBox(t)
	busybox.Name = "example.com/busybox:1"
	c.Import(busybox)
	return c
}

// on returns the cluster for a subtest, whose failures are its own.
func (c *cluster) on(t *testing.T) *cluster { return &cluster{c.On(t)} }
