package node

import (
	"os"
	"path/filepath"
	"strings"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: a}}
data: {colour: blue, size: small}
`

// changeObjects changes objects in all the ways that kubectl has.
func changeObjects(m *machine) {
	m.Apply(settings)
	edit(m)
	owners(m)
	patches(m)
	created := filepath.Join(m.TempDir(), "made.yaml")
	if err := os.WriteFile(created, []byte(strings.ReplaceAll(settings, "settings", "made")), 0o600); err != nil {
		m.Fatal(err)
	}
	m.Contains(m.Kubectl("apply", "--dry-run=server", "-f", created), "made created (server dry run)")
	m.Contains(m.Denied("get", "configmap", "made"), "not found")
	m.Contains(m.Denied("diff", "-f", created), "+  size: small")
	m.Kubectl("create", "-f", created)
	m.Contains(m.Denied("create", "-f", created), "already exists")
	m.same("diff of the same", m.Kubectl("diff", "-f", created), "")
	m.Kubectl("replace", "-f", created)
	m.Contains(m.Kubectl("apply", "-f", created, "--prune", "-l", "app=a", "--prune-allowlist=core/v1/ConfigMap"), "configmap/settings pruned")
	m.Contains(m.Denied("wait", "configmap/made", "--for=jsonpath={.data.size}=large", "--timeout=1s"), "timed out")
	m.Kubectl("wait", "configmap/made", "--for=jsonpath={.data.size}=small", "--timeout=60s")
	cmd := m.kubectlCmd("wait", "configmap/made", "--for=delete", "--timeout=60s")
	if err := m.Start(cmd); err != nil {
		m.Fatal(err)
	}
	m.Kubectl("delete", "configmap", "made")
	if err := cmd.Wait(); err != nil {
		m.Errorf("wait for delete: %v", err)
	}
}

// edit lets an editor change an object, then one that makes it wrong.
func edit(m *machine) {
	editor := func(script string) (string, error) {
		file := filepath.Join(m.TempDir(), "editor")
		if err := os.WriteFile(file, []byte("#!/bin/sh\nexec sed -i '"+script+"' \"$1\"\n"), 0o700); err != nil {
			m.Fatal(err)
		}
		cmd := m.kubectlCmd("edit", "configmap", "settings")
		cmd.Env = append(cmd.Env, "KUBE_EDITOR="+file)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		err := m.Start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		return out.String(), err
	}
	if out, err := editor("s/colour: blue/colour: green/"); err != nil {
		m.Errorf("edit: %v\n%s", err, out)
	}
	m.same("edited", m.field("configmap/settings", ".data.colour"), "green")
	out, err := editor("s/^data:/date:/")
	if err == nil {
		m.Errorf("edit to an unknown field went through:\n%s", out)
	}
	m.Contains(out, "is invalid", "A copy of your changes has been stored")
}

// owners applies as two managers who want different things.
func owners(m *machine) {
	mine := m.File(strings.ReplaceAll(settings, "settings", "shared"))
	m.Kubectl("apply", "--server-side", "--field-manager=one", "-f", mine)
	theirs := m.File(strings.ReplaceAll(strings.ReplaceAll(settings, "settings", "shared"), "small", "large"))
	out := m.Denied("apply", "--server-side", "--field-manager=two", "-f", theirs)
	m.Contains(out, `conflict with "one"`, ".data.size", "--force-conflicts")
	m.same("after a conflict", m.field("configmap/shared", ".data.size"), "small")
	m.Kubectl("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", theirs)
	m.same("after force", m.field("configmap/shared", ".data.size"), "large")
	without := m.File("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {size: large}\n")
	m.Kubectl("apply", "--server-side", "--field-manager=two", "-f", without)
	m.same("still owned by one", m.field("configmap/shared", ".data.colour"), "blue")
	m.Kubectl("apply", "--server-side", "--field-manager=one", "-f", without)
	m.same("owned by nobody any more", m.field("configmap/shared", ".data"), `{"size":"large"}`)
}

// patches changes a deployment by the three kinds of patch.
func patches(m *machine) {
	m.Kubectl("create", "deployment", "app", "--image=example.com/app:1", "--replicas=0")
	m.Kubectl("patch", "deployment", "app", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"example.com/side:1"}]}}}}`)
	m.same("strategic: a list joined by name", m.field("deployment/app", ".spec.template.spec.containers[*].name"), "side app")
	m.Kubectl("patch", "deployment", "app", "--type=json", "-p", `[{"op":"test","path":"/spec/replicas","value":0},{"op":"remove","path":"/spec/template/spec/containers/0"}]`)
	m.same("json: one of a list removed", m.field("deployment/app", ".spec.template.spec.containers[*].name"), "app")
	m.Kubectl("patch", "deployment", "app", "--type=merge", "-p", `{"metadata":{"labels":{"app":null,"tier":"front"}},"spec":{"template":{"spec":{"containers":[{"name":"only","image":"example.com/only:1"}]}}}}`)
	m.same("merge: a list replaced", m.field("deployment/app", ".spec.template.spec.containers[*].name"), "only")
	m.same("merge: a label removed", m.field("deployment/app", ".metadata.labels"), `{"tier":"front"}`)
	m.Contains(m.Denied("patch", "deployment", "app", "--type=json", "-p", `[{"op":"test","path":"/spec/replicas","value":5}]`), "The request is invalid")
	m.Contains(m.Denied("patch", "deployment", "app", "-p", `{"spec":{"replicas":-1}}`), "spec.replicas", "greater than or equal to 0")
}
