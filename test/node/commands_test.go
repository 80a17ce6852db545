package node

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpErrors brings up what cannot come up: each error says what to do.
func TestUpErrors(t *testing.T) {
	m := newMachine(t, "--disable=agent")
	busy, err := m.Listen(net.JoinHostPort(m.IP.String(), "6443"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.Node.Up(m.Ctx); err == nil {
		t.Fatalf("up on a used port succeeded:\n%s", out)
	} else {
		m.Contains(out, "port 6443 is in use", "--api-port")
	}
	busy.Close()
	for _, tt := range []struct {
		args []string
		told []string
	}{
		{[]string{"--pod-cidr=10.43.0.0/16"}, []string{"overlap"}},
		{[]string{"--service-cidr=here"}, []string{"--service-cidr", "10.43.0.0/16"}},
		{[]string{"--api-port=70000"}, []string{"between 1 and 65535"}},
		{[]string{"--node-name=Not_A_Name"}, []string{"Not_A_Name", "--node-name"}},
		{[]string{"--disable=everything"}, []string{"no such part"}},
	} {
		m.Contains(m.Refused(append([]string{"up", "-d", "--data-dir=" + string(m.Dir)}, tt.args...)...), tt.told...)
	}

	m.Up()
	if out, err := m.Node.Up(m.Ctx); err == nil {
		t.Error("up succeeded twice on one data directory")
	} else {
		m.Contains(out, "already runs", "sinawi down", "--data-dir")
	}
	m.Sinawi("down")
	out := m.Refused("up", "-d", "--disable=agent", "--node-name=n1", "--pod-cidr=10.99.0.0/16")
	m.Contains(out, "was set up with --pod-cidr 10.42.0.0/16")
	m.Up() // and what it held is still there
	m.Contains(m.Kubectl("get", "namespaces"), "kube-system")
	m.Contains(m.Refused("down", "--data-dir="+filepath.Join(t.TempDir(), "other")), "there is no sinawi in")
}

// TestHelp: every command explains itself, with an example.
func TestHelp(t *testing.T) {
	m := newMachine(t)
	for _, command := range []string{"up", "down", "status", "doctor", "demo", "logs", "image", "image import", "image ls", "image rm", "version", "server"} {
		args := append(strings.Fields(command), "--help")
		m.Contains(m.Sinawi(args...), "Usage:", "Examples:", "sinawi "+command)
	}
	m.Contains(m.Refused("upp"), "unknown command", "up")
	m.Contains(m.Sinawi("version", "-o", "json"), `"kubernetes": "v1.37`)
	m.Contains(m.Refused("status"), "no server runs", "sinawi up")
}
