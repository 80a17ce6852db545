package node

import (
	"path/filepath"
	"strings"

	"github.com/sinawi/sinawi/lab"
)

const jobObjects = `
apiVersion: batch/v1
kind: Job
metadata: {name: failing}
spec:
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: 'sinawi.local/busybox:1', imagePullPolicy: Never, command: [sh, -c, 'exit 3']}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: many}
spec:
  completions: 5
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: OnFailure
      containers: [{name: c, image: 'sinawi.local/busybox:1', imagePullPolicy: Never, command: [sh, -c, 'echo index=$JOB_COMPLETION_INDEX']}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: late}
spec:
  activeDeadlineSeconds: 1
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'sinawi.local/busybox:1', imagePullPolicy: Never, command: [sleep, '100000']}]
`

// jobs end well, end badly, or end too late.
func jobs(m *machine) {
	m.Apply(jobObjects)
	m.Kubectl("wait", "job/many", "--for=condition=Complete", "--timeout=100s")
	m.same("succeeded", m.field("job/many", ".status.succeeded"), "5")
	m.same("indexes", m.field("job/many", ".status.completedIndexes"), "0-4")
	m.Contains(m.Kubectl("logs", "-l", "job-name=many", "--max-log-requests=5"), "index=0", "index=4")
	m.Kubectl("wait", "job/failing", "--for=condition=Failed", "--timeout=100s")
	m.same("why it failed", m.field("job/failing", `.status.conditions[?(@.type=="Failed")].reason`), "BackoffLimitExceeded")
	m.same("how often it failed", m.field("job/failing", ".status.failed"), "2")
	m.Kubectl("wait", "job/late", "--for=condition=Failed", "--timeout=100s")
	m.same("why it was late", m.field("job/late", `.status.conditions[?(@.type=="Failed")].reason`), "DeadlineExceeded")
	m.Kubectl("delete", "job", "many")
	m.Kubectl("wait", "pod", "-l", "job-name=many", "--for=delete", "--timeout=60s")
}

const two = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'sinawi.local/busybox:1', imagePullPolicy: Never, command: [sleep, '100000']}]
`

// collect removes owners with what they own, or without, and a namespace with
// everything in it.
func collect(m *machine) {
	deployment := func(name string) {
		m.Helper()
		m.Apply(strings.ReplaceAll(two, "NAME", name))
		m.Kubectl("rollout", "status", "deployment/"+name, "--timeout=100s")
	}
	deployment("fore")
	m.Kubectl("delete", "deployment", "fore", "--cascade=foreground", "--timeout=100s")
	m.same("left once the owner is gone", m.Kubectl("get", "replicasets,pods", "-l", "app=fore", "-o", "name"), "")
	deployment("orphan")
	m.Kubectl("delete", "deployment", "orphan", "--cascade=orphan")
	m.Kubectl("wait", "replicaset", "-l", "app=orphan", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
	owners := m.Kubectl("get", "replicasets", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.ownerReferences}")
	m.same("owners of an orphan", owners, "")
	deployment("orphan") // takes them up again
	m.Kubectl("delete", "deployment", "orphan")
	m.Kubectl("wait", "pod", "-l", "app=orphan", "--for=delete", "--timeout=60s")

	other := m.in("gone")
	other.Kubectl("create", "namespace", "gone")
	other.Apply(settings + "---\n" + sleeper("stays") + "apiVersion: v1\nkind: Secret\nmetadata: {name: hidden, finalizers: [example.com/hold]}\n")
	other.ready("stays")
	m.Kubectl("delete", "namespace", "gone", "--wait=false")
	other.Kubectl("wait", "pod/stays", "--for=delete", "--timeout=60s")
	m.is("namespace/gone", ".status.phase", "Terminating")
	m.Contains(other.Denied("create", "configmap", "new"), "being terminated")
	m.Kubectl("wait", "namespace/gone", "--for=condition=NamespaceFinalizersRemaining", "--timeout=60s")
	m.Contains(m.Kubectl("describe", "namespace", "gone"), "example.com/hold in 1 resource instances")
	other.Kubectl("patch", "secret", "hidden", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	m.Kubectl("wait", "namespace/gone", "--for=delete", "--timeout=60s")
}

// identity uses the API from a pod, as the pod's account may, by the token, the
// CA and the namespace that are mounted into it.
//
// Conformance: [sig-auth] ServiceAccounts should mount an API token into pods
func identity(m *machine) {
	program, err := lab.FindProgram()
	if err != nil {
		m.Fatal(err)
	}
	m.Kubectl("create", "serviceaccount", "watcher")
	m.Apply(pod("asks", `  serviceAccountName: watcher
  containers: [{name: c, BUSYBOX, command: [sleep, '100000'], env: [{name: HOME, value: /tmp}], volumeMounts: [{name: bin, mountPath: /sinawi}]}]
  volumes: [{name: bin, hostPath: {path: `+filepath.Dir(program)+`, type: Directory}}]`) +
		pod("bare", "  automountServiceAccountToken: false\n  containers: [{name: c, BUSYBOX, command: [sleep, '100000']}]"))
	m.ready("asks", "bare")
	ask := func(args ...string) []string {
		return append([]string{"exec", "asks", "--", "/sinawi/sinawi", "kubectl"}, args...)
	}
	who := "system:serviceaccount:" + m.Namespace + ":watcher"
	m.Contains(m.Kubectl(ask("auth", "whoami")...), who, "system:serviceaccounts:"+m.Namespace)
	m.Contains(m.Denied(ask("get", "pods")...), `User "`+who+`" cannot list resource "pods" in API group "" in the namespace "`+m.Namespace+`"`)
	m.Kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
	m.Kubectl("create", "rolebinding", "watcher", "--role=reader", "--serviceaccount="+m.Namespace+":watcher")
	m.Eventually("a role given", func() string {
		out, err := m.Node.Sinawi(m.Ctx, m.InNamespace(ask("get", "pods", "-o", "name"))...)
		if err != nil {
			return out
		}
		return missing(out, "pod/asks", "pod/bare")
	})
	m.Contains(m.Denied(ask("delete", "pod", "bare")...), "cannot delete")
	m.Contains(m.Denied(ask("get", "pods", "-n", "kube-system")...), "forbidden")
	m.Contains(m.Kubectl("exec", "bare", "--", "sh", "-c", "ls /var/run/secrets 2>&1 || true"), "No such file")
	// By a bare client: the name in the certificate, and the token's authority.
	token := strings.TrimSpace(m.Kubectl("create", "token", "watcher", "--duration=10m"))
	m.Contains(m.Kubectl(ask("--server=https://kubernetes.default.svc", "--certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "--token="+token, "auth", "whoami")...), who)
	m.Contains(m.Denied(ask("--server=https://kubernetes.default", "--certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "--token="+token+"x", "get", "pods")...), "You must be logged in to the server")
	m.Contains(m.Kubectl("auth", "can-i", "list", "pods", "--as="+who), "yes")
	m.Contains(m.Denied("auth", "can-i", "create", "pods", "--as="+who), "no")
}
