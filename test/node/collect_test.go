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
	m.apply(jobObjects)
	m.kubectl("wait", "job/many", "--for=condition=Complete", "--timeout=100s")
	m.same("succeeded", m.field("job/many", ".status.succeeded"), "5")
	m.same("indexes", m.field("job/many", ".status.completedIndexes"), "0-4")
	contains(m, m.kubectl("logs", "-l", "job-name=many", "--max-log-requests=5"), "index=0", "index=4")
	m.kubectl("wait", "job/failing", "--for=condition=Failed", "--timeout=100s")
	m.same("why it failed", m.field("job/failing", `.status.conditions[?(@.type=="Failed")].reason`), "BackoffLimitExceeded")
	m.same("how often it failed", m.field("job/failing", ".status.failed"), "2")
	m.kubectl("wait", "job/late", "--for=condition=Failed", "--timeout=100s")
	m.same("why it was late", m.field("job/late", `.status.conditions[?(@.type=="Failed")].reason`), "DeadlineExceeded")
	m.kubectl("delete", "job", "many")
	m.kubectl("wait", "pod", "-l", "job-name=many", "--for=delete", "--timeout=60s")
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
		m.apply(strings.ReplaceAll(two, "NAME", name))
		m.kubectl("rollout", "status", "deployment/"+name, "--timeout=100s")
	}
	deployment("fore")
	m.kubectl("delete", "deployment", "fore", "--cascade=foreground", "--timeout=100s")
	m.same("left once the owner is gone", m.kubectl("get", "replicasets,pods", "-l", "app=fore", "-o", "name"), "")
	deployment("orphan")
	m.kubectl("delete", "deployment", "orphan", "--cascade=orphan")
	m.kubectl("wait", "replicaset", "-l", "app=orphan", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
	owners := m.kubectl("get", "replicasets", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.ownerReferences}")
	m.same("owners of an orphan", owners, "")
	deployment("orphan") // takes them up again
	m.kubectl("delete", "deployment", "orphan")
	m.kubectl("wait", "pod", "-l", "app=orphan", "--for=delete", "--timeout=60s")

	other := m.in("gone")
	other.kubectl("create", "namespace", "gone")
	other.apply(settings + "---\n" + sleeper("stays") + "apiVersion: v1\nkind: Secret\nmetadata: {name: hidden, finalizers: [example.com/hold]}\n")
	other.ready("stays")
	m.kubectl("delete", "namespace", "gone", "--wait=false")
	other.kubectl("wait", "pod/stays", "--for=delete", "--timeout=60s")
	m.is("namespace/gone", ".status.phase", "Terminating")
	contains(m, other.denied("create", "configmap", "new"), "being terminated")
	m.kubectl("wait", "namespace/gone", "--for=condition=NamespaceFinalizersRemaining", "--timeout=60s")
	contains(m, m.kubectl("describe", "namespace", "gone"), "example.com/hold in 1 resource instances")
	other.kubectl("patch", "secret", "hidden", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	m.kubectl("wait", "namespace/gone", "--for=delete", "--timeout=60s")
}

// in is the machine seen from another namespace.
func (m *machine) in(namespace string) *machine {
	c := *m
	c.namespace = namespace
	return &c
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
	m.kubectl("create", "serviceaccount", "watcher")
	m.apply(pod("asks", `  serviceAccountName: watcher
  containers: [{name: c, BUSYBOX, command: [sleep, '100000'], env: [{name: HOME, value: /tmp}], volumeMounts: [{name: bin, mountPath: /sinawi}]}]
  volumes: [{name: bin, hostPath: {path: `+filepath.Dir(program)+`, type: Directory}}]`) +
		pod("bare", "  automountServiceAccountToken: false\n  containers: [{name: c, BUSYBOX, command: [sleep, '100000']}]"))
	m.ready("asks", "bare")
	ask := func(args ...string) []string {
		return append([]string{"exec", "asks", "--", "/sinawi/sinawi", "kubectl"}, args...)
	}
	who := "system:serviceaccount:" + m.namespace + ":watcher"
	contains(m, m.kubectl(ask("auth", "whoami")...), who, "system:serviceaccounts:"+m.namespace)
	contains(m, m.denied(ask("get", "pods")...), `User "`+who+`" cannot list resource "pods" in API group "" in the namespace "`+m.namespace+`"`)
	m.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
	m.kubectl("create", "rolebinding", "watcher", "--role=reader", "--serviceaccount="+m.namespace+":watcher")
	m.eventually("a role given", func() string {
		out, err := m.Sinawi(m.ctx, m.inNamespace(ask("get", "pods", "-o", "name"))...)
		if err != nil {
			return out
		}
		return missing(out, "pod/asks", "pod/bare")
	})
	contains(m, m.denied(ask("delete", "pod", "bare")...), "cannot delete")
	contains(m, m.denied(ask("get", "pods", "-n", "kube-system")...), "forbidden")
	contains(m, m.kubectl("exec", "bare", "--", "sh", "-c", "ls /var/run/secrets 2>&1 || true"), "No such file")
	// By a bare client: the name in the certificate, and the token's authority.
	token := strings.TrimSpace(m.kubectl("create", "token", "watcher", "--duration=10m"))
	contains(m, m.kubectl(ask("--server=https://kubernetes.default.svc", "--certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "--token="+token, "auth", "whoami")...), who)
	contains(m, m.denied(ask("--server=https://kubernetes.default", "--certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "--token="+token+"x", "get", "pods")...), "You must be logged in to the server")
	contains(m, m.kubectl("auth", "can-i", "list", "pods", "--as="+who), "yes")
	contains(m, m.denied("auth", "can-i", "create", "pods", "--as="+who), "no")
}
