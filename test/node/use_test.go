package node

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestUse tries what a user does with a running cluster, each in a namespace of
// its own on one node.
func TestUse(t *testing.T) {
	m := newMachine(t)
	m.Up()
	m.ImportBusyBox()
	for _, tt := range []struct {
		name string
		try  func(*machine)
	}{
		{"streams", streams},
		{"logs", containerLogs},
		{"edit", changeObjects},
		{"pull", pullImages},
		{"start", startOrder},
		{"probes", probes},
		{"hooks", hooks},
		{"content", content},
		{"limits", limits},
		{"names", names},
		{"services", reach},
		{"jobs", jobs},
		{"autoscale", autoscale},
		{"collect", collect},
		{"identity", identity},
		{"sinawi", ownCommands},
		{"outlook", outlook},
		{"kubectl", useKubectl},
		{"demos", demos},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := m.on(t)
			m.Namespace = "use-" + tt.name
			m.Sinawi("kubectl", "create", "namespace", m.Namespace)
			tt.try(m)
			m.Sinawi("kubectl", "delete", "namespace", m.Namespace, "--timeout=100s")
		})
	}
}

// pod is a manifest of a pod whose containers use the tests' image; further
// fields of the spec, indented by two, follow.
func pod(name, spec string) string {
	spec = strings.ReplaceAll(spec, "BUSYBOX", "image: 'sinawi.local/busybox:1', imagePullPolicy: Never")
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + name + "}}\nspec:\n  terminationGracePeriodSeconds: 1\n" + spec + "\n---\n"
}

// sleeper is a pod that only stays.
func sleeper(name string) string {
	return pod(name, "  containers: [{name: c, BUSYBOX, command: [sleep, '100000']}]")
}

// ready waits until pods are.
func (m *machine) ready(pods ...string) {
	m.Helper()
	args := append([]string{"wait", "pod", "--for=condition=Ready", "--timeout=100s"}, pods...)
	m.Kubectl(args...)
}

// is waits until a field of an object has a value.
func (m *machine) is(object, path, value string) {
	m.Helper()
	m.Kubectl("wait", object, "--for=jsonpath={"+path+"}="+value, "--timeout=100s")
}

// field is a field of an object.
func (m *machine) field(object, path string) string {
	m.Helper()
	return m.Kubectl("get", object, "-o", "jsonpath={"+path+"}")
}

// same reports a value that is not the wanted one.
func (m *machine) same(what, got, want string) {
	m.Helper()
	if got != want {
		m.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// kubectlCmd is a kubectl command that is not started yet.
func (m *machine) kubectlCmd(args ...string) *exec.Cmd {
	return m.Command(m.Ctx, m.InNamespace(args)...)
}

// typed runs a kubectl command that must succeed, with something to read.
func (m *machine) typed(stdin io.Reader, args ...string) string {
	m.Helper()
	var out bytes.Buffer
	cmd := m.kubectlCmd(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	err := m.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		m.Fatalf("kubectl %v: %v\n%s", args, err, out.String())
	}
	return out.String()
}
