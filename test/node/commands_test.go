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
	if out, err := m.Up(m.ctx); err == nil {
		t.Fatalf("up on a used port succeeded:\n%s", out)
	} else {
		contains(m, out, "port 6443 is in use", "--api-port")
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
		contains(m, m.refused(append([]string{"up", "-d", "--data-dir=" + string(m.Dir)}, tt.args...)...), tt.told...)
	}

	m.up()
	if out, err := m.Up(m.ctx); err == nil {
		t.Error("up succeeded twice on one data directory")
	} else {
		contains(m, out, "already runs", "sinawi down", "--data-dir")
	}
	m.sinawi("down")
	out := m.refused("up", "-d", "--disable=agent", "--node-name=n1", "--pod-cidr=10.99.0.0/16")
	contains(m, out, "was set up with --pod-cidr 10.42.0.0/16")
	m.up() // and what it held is still there
	contains(m, m.kubectl("get", "namespaces"), "kube-system")
	contains(m, m.refused("down", "--data-dir="+filepath.Join(t.TempDir(), "other")), "there is no sinawi in")
}

// TestHelp: every command explains itself, with an example.
func TestHelp(t *testing.T) {
	m := newMachine(t)
	for _, command := range []string{"up", "down", "status", "doctor", "demo", "logs", "image", "image import", "image ls", "image rm", "version", "server"} {
		args := append(strings.Fields(command), "--help")
		contains(m, m.sinawi(args...), "Usage:", "Examples:", "sinawi "+command)
	}
	contains(m, m.refused("upp"), "unknown command", "up")
	contains(m, m.sinawi("version", "-o", "json"), `"kubernetes": "v1.37`)
	contains(m, m.refused("status"), "no server runs", "sinawi up")
}
