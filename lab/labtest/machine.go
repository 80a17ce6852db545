// Package labtest is what tests have in common that use a node of the lab or kubectl
// as a user would: how they come by it, and what they say when it does not do as it
// should.
//
// Nothing here asserts how long something takes: waits are bounded by Patience only,
// of which nothing takes a tenth on a machine with nothing else to do.
package labtest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/lab"
	"github.com/sinawi/sinawi/lab/images"
)

// Patience bounds whatever a test waits for.
const Patience = 3 * time.Minute

// limit bounds all that a test does with one machine.
const limit = 15 * time.Minute

// Machine is a node of the lab with a test's checks on it: a command must do what its
// method says, or the test ends. Where a test wants to decide itself, it asks Node.
type Machine struct {
	testing.TB
	*lab.Node
	Ctx       context.Context
	Namespace string // of kubectl commands; "" is the default one
}

// New returns a machine on which nothing runs yet. It goes with the test; flags are
// given to every `sinawi up` on it.
func New(t testing.TB, flags ...string) *Machine {
	t.Helper()
	program, err := lab.FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir(): the names of tests make the paths of sockets too long.
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := lab.New(dir, program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	node, err := l.AddNode("n1", flags...)
	if err != nil {
		t.Fatal(err)
	}
	// Not t.Context(), which ends before the test's last commands.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	m := &Machine{TB: t, Node: node, Ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			m.tell()
		}
	})
	return m
}

// tell logs what helps to understand a failure.
func (m *Machine) tell() {
	for _, args := range [][]string{
		{"status"},
		{"kubectl", "get", "pods,jobs,apiservices,leases", "-A", "-o", "wide"},
		{"kubectl", "get", "events", "-A"},
		{"logs", "server", "--tail=30"},
		{"logs", "runtime", "--tail=10"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, err := m.Node.Sinawi(ctx, args...)
		cancel()
		m.Logf("sinawi %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// On returns the machine for a subtest, whose failures are its own.
func (m *Machine) On(t testing.TB) *Machine {
	c := *m
	c.TB = t
	return &c
}

// In is the machine seen from another namespace.
func (m *Machine) In(namespace string) *Machine {
	c := *m
	c.Namespace = namespace
	return &c
}

// Up starts the cluster.
func (m *Machine) Up() {
	m.Helper()
	out, err := m.Node.Up(m.Ctx)
	if err != nil {
		m.Fatal(err)
	}
	if !strings.Contains(out, "The cluster is ready") {
		m.Errorf("up does not end with what to do next:\n%s", out)
	}
}

// Import gives the machine an image.
func (m *Machine) Import(spec image.Spec) {
	m.Helper()
	archive, err := image.Build(spec)
	if err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(m.TempDir(), "image.tar")
	out, err := os.Create(file)
	if err != nil {
		m.Fatal(err)
	}
	if _, err := io.Copy(out, archive); err != nil {
		m.Fatal(err)
	}
	if err := out.Close(); err != nil {
		m.Fatal(err)
	}
	m.Sinawi("image", "import", file)
}

// ImportBusyBox gives the machine the image that most tests use.
func (m *Machine) ImportBusyBox() {
	m.Helper()
	m.Import(images.BusyBox(m.TB))
}

// Sinawi runs a command that must succeed.
func (m *Machine) Sinawi(args ...string) string {
	m.Helper()
	out, err := m.Node.Sinawi(m.Ctx, args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// Refused runs a command that must fail, and returns what it said.
func (m *Machine) Refused(args ...string) string {
	m.Helper()
	out, err := m.Node.Sinawi(m.Ctx, args...)
	if err == nil {
		m.Fatalf("sinawi %s: succeeded, want a refusal:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// Kubectl runs a kubectl command that must succeed.
func (m *Machine) Kubectl(args ...string) string {
	m.Helper()
	return m.Sinawi(m.InNamespace(args)...)
}

// Denied runs a kubectl command that must fail, and returns what it said.
func (m *Machine) Denied(args ...string) string {
	m.Helper()
	return m.Refused(m.InNamespace(args)...)
}

// InNamespace makes arguments of kubectl those of sinawi.
func (m *Machine) InNamespace(args []string) []string {
	if m.Namespace == "" {
		return append([]string{"kubectl"}, args...)
	}
	return append([]string{"kubectl", "--namespace", m.Namespace}, args...)
}

// Run runs another program on the machine that must succeed.
func (m *Machine) Run(program string, args ...string) string {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Ctx, Patience)
	defer cancel()
	out, err := m.Node.Run(ctx, program, args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// Fails runs another program on the machine that must fail, and returns what it said.
func (m *Machine) Fails(program string, args ...string) string {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Ctx, Patience)
	defer cancel()
	out, err := m.Node.Run(ctx, program, args...)
	if err == nil {
		m.Fatalf("%s %s: succeeded, want a refusal:\n%s", filepath.Base(program), strings.Join(args, " "), out)
	}
	return out
}

// Apply applies a manifest given as text.
func (m *Machine) Apply(manifest string) string {
	m.Helper()
	return m.Kubectl("apply", "-f", m.File(manifest))
}

// File is the path of a file with the content.
func (m *Machine) File(content string) string {
	m.Helper()
	file := filepath.Join(m.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		m.Fatal(err)
	}
	return file
}

// Eventually repeats check until it returns "" and fails with its last words. It is
// for what has no watch: answers of programs in containers.
func (m *Machine) Eventually(what string, check func() string) {
	m.Helper()
	deadline := time.Now().Add(Patience)
	for {
		wrong := check()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			m.Fatalf("%s: not in time: %s", what, wrong)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Contains says what is missing of the wanted in what a command said.
func (m *Machine) Contains(got string, wanted ...string) {
	m.Helper()
	for _, w := range wanted {
		if !strings.Contains(got, w) {
			m.Errorf("got:\n%s\nwant in it: %q", got, w)
		}
	}
}
