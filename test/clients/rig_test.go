package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/lab"
	"github.com/sinawi/sinawi/lab/images"
)

// patience bounds whatever a test waits for, apart from building programs.
const patience = 3 * time.Minute

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
func module(t *testing.T, version string) string {
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
type cluster struct {
	testing.TB
	*lab.Node
	ctx context.Context
}

// start brings a node up that has the image of the tests' own chart.
func start(t *testing.T) *cluster {
	t.Helper()
	sinawi, err := lab.FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "clients") // t.TempDir() is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := lab.New(dir, sinawi)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	node, err := l.AddNode("n1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	t.Cleanup(cancel)
	c := &cluster{TB: t, Node: node, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell()
		}
	})
	if _, err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}
	c.load(images.BusyBox(t), "example.com/busybox:1")
	return c
}

func (c *cluster) tell() {
	for _, args := range [][]string{{"get", "pods,jobs,apiservices,leases", "-A", "-o", "wide"}, {"get", "events", "-A"}} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, err := c.Kubectl(ctx, args...)
		cancel()
		c.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// on returns the cluster for a subtest, whose failures are its own.
func (c *cluster) on(t *testing.T) *cluster {
	of := *c
	of.TB = t
	return &of
}

// load gives the node an image.
func (c *cluster) load(spec image.Spec, name string) {
	c.Helper()
	spec.Name = name
	archive, err := image.Build(spec)
	if err != nil {
		c.Fatal(err)
	}
	file := filepath.Join(c.TempDir(), "image.tar")
	out, err := os.Create(file)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := io.Copy(out, archive); err != nil {
		c.Fatal(err)
	}
	if err := out.Close(); err != nil {
		c.Fatal(err)
	}
	if out, err := c.Sinawi(c.ctx, "image", "import", file); err != nil {
		c.Fatalf("import %s: %v\n%s", name, err, out)
	}
}

// run runs a program on the node that must succeed.
func (c *cluster) run(program string, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	out, err := c.Run(ctx, program, args...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *cluster) kubectl(args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	out, err := c.Kubectl(ctx, args...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// refused runs a program that must fail, and returns what it said.
func (c *cluster) refused(program string, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	out, err := c.Run(ctx, program, args...)
	if err == nil {
		c.Fatalf("%s %v succeeded:\n%s", filepath.Base(program), args, out)
	}
	return out
}

// apply applies a manifest given as text.
func (c *cluster) apply(manifest string) {
	c.Helper()
	file := filepath.Join(c.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		c.Fatal(err)
	}
	c.kubectl("apply", "-f", file)
}

// eventually repeats check until it returns "" and fails with its last words. It is
// for what has no watch, as what a program answers.
func (c *cluster) eventually(what string, check func() string) {
	c.Helper()
	deadline := time.Now().Add(patience)
	for {
		wrong := check()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s: not in time: %s", what, wrong)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func contains(c *cluster, got string, wanted ...string) {
	c.Helper()
	for _, w := range wanted {
		if !strings.Contains(got, w) {
			c.Errorf("got:\n%s\nwant in it: %q", got, w)
		}
	}
}
