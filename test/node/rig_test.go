package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/lab"
	"github.com/sinawi/sinawi/lab/images"
)

// patience bounds whatever a test waits for; nothing here takes a tenth of it
// on a machine with nothing else to do.
const patience = 2 * time.Minute

// machine is a lab node with a test's checks on it.
type machine struct {
	testing.TB
	*lab.Node
	ctx       context.Context
	namespace string // of kubectl commands; "" is the default one
}

// newMachine returns a machine on which nothing runs yet.
func newMachine(t *testing.T, flags ...string) *machine {
	t.Helper()
	program, err := lab.FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir(): the names of tests make the paths of sockets too long.
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := lab.New(dir, program)
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
	node, err := l.AddNode("n1", flags...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	m := &machine{TB: t, Node: node, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			m.tell()
		}
	})
	return m
}

// tell logs what helps to understand a failure.
func (m *machine) tell() {
	for _, args := range [][]string{
		{"status"},
		{"kubectl", "get", "pods", "-A", "-o", "wide"},
		{"kubectl", "get", "events", "-A"},
		{"logs", "server", "--tail=30"},
		{"logs", "runtime", "--tail=10"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, err := m.Sinawi(ctx, args...)
		cancel()
		m.Logf("sinawi %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// on returns the machine for a subtest, whose failures are its own.
func (m *machine) on(t *testing.T) *machine {
	c := *m
	c.TB = t
	return &c
}

// up starts the cluster and gives it the image that tests use.
func (m *machine) up() {
	m.Helper()
	out, err := m.Up(m.ctx)
	if err != nil {
		m.Fatal(err)
	}
	if !strings.Contains(out, "The cluster is ready") {
		m.Errorf("up does not end with what to do next:\n%s", out)
	}
}

func (m *machine) importBusyBox() {
	m.Helper()
	archive, err := image.Build(images.BusyBox(m.TB))
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
	m.sinawi("image", "import", file)
}

// sinawi runs a command that must succeed.
func (m *machine) sinawi(args ...string) string {
	m.Helper()
	out, err := m.Sinawi(m.ctx, args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// kubectl runs a command that must succeed.
func (m *machine) kubectl(args ...string) string {
	m.Helper()
	return m.sinawi(m.inNamespace(args)...)
}

// inNamespace makes arguments of kubectl those of sinawi.
func (m *machine) inNamespace(args []string) []string {
	if m.namespace == "" {
		return append([]string{"kubectl"}, args...)
	}
	return append([]string{"kubectl", "--namespace", m.namespace}, args...)
}

// denied runs a kubectl command that must fail, and returns what it said.
func (m *machine) denied(args ...string) string {
	m.Helper()
	return m.refused(m.inNamespace(args)...)
}

// refused runs a command that must fail, and returns what it said.
func (m *machine) refused(args ...string) string {
	m.Helper()
	out, err := m.Sinawi(m.ctx, args...)
	if err == nil {
		m.Fatalf("sinawi %s: succeeded, want a refusal:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// apply applies a manifest given as text.
func (m *machine) apply(manifest string) string {
	m.Helper()
	return m.kubectl("apply", "-f", m.file(manifest))
}

func (m *machine) file(content string) string {
	m.Helper()
	file := filepath.Join(m.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		m.Fatal(err)
	}
	return file
}

// eventually repeats check until it returns "" and fails with its last words.
// It is for what has no watch: answers of programs in containers.
func (m *machine) eventually(what string, check func() string) {
	m.Helper()
	deadline := time.Now().Add(patience)
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

func contains(m *machine, got string, wanted ...string) {
	m.Helper()
	for _, w := range wanted {
		if !strings.Contains(got, w) {
			m.Errorf("got:\n%s\nwant in it: %q", got, w)
		}
	}
}

// get asks for a page from the machine itself, by a connection of its own.
func (m *machine) get(url string) (string, error) {
	client := &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				err = m.Dial(func() error {
					conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
					return err
				})
				return conn, err
			},
		},
	}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
