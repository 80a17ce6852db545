package node

import (
	"fmt"
	"os"
	"strings"

	"github.com/sinawi/sinawi/lab/images"
)

// startOrder runs init containers, one of them a sidecar, before the others.
func startOrder(m *machine) {
	const say = "command: [sh, -c, 'echo %s >> /all/order%s'], volumeMounts: [{name: all, mountPath: /all}]}\n"
	m.Apply(pod("ordered", "  restartPolicy: OnFailure\n  initContainers:\n"+
		"  - {name: first, BUSYBOX, "+fmt.Sprintf(say, "first", "; test -e /all/again || { touch /all/again; exit 1; }")+
		"  - {name: side, BUSYBOX, restartPolicy: Always, startupProbe: {periodSeconds: 1, exec: {command: [test, -e, /all/sided]}}, "+fmt.Sprintf(say, "side", "; sleep 1; touch /all/sided; sleep 100000")+
		"  - {name: second, BUSYBOX, "+fmt.Sprintf(say, "second", "; test -e /all/sided")+
		"  containers:\n  - {name: main, BUSYBOX, "+fmt.Sprintf(say, "main", "; cat /all/order")+
		"  volumes: [{name: all, emptyDir: {}}]") +
		pod("stuck", "  restartPolicy: Never\n  initContainers: [{name: i, BUSYBOX, command: [sh, -c, 'exit 4']}]\n  containers: [{name: c, BUSYBOX}]"))
	m.is("pod/ordered", ".status.phase", "Succeeded")
	m.same("order", m.Kubectl("logs", "ordered", "-c", "main"), "first\nfirst\nside\nsecond\nmain\n")
	m.same("restarts of the first", m.field("pod/ordered", ".status.initContainerStatuses[0].restartCount"), "1")
	m.is("pod/stuck", ".status.phase", "Failed")
	m.Contains(m.Kubectl("get", "pod", "stuck"), "Init:Error")
}

// probes gate the start, restart what is dead, and keep endpoints to the ready.
func probes(m *machine) {
	m.Apply(pod("gated", `  containers: [{name: c, BUSYBOX, command: [sh, -c, 'httpd -p 80; sleep 100000'],
    startupProbe: {exec: {command: [test, -e, /tmp/started]}, periodSeconds: 1, failureThreshold: 1000},
    readinessProbe: {httpGet: {path: /tmp/ok, port: web}, periodSeconds: 1, failureThreshold: 1},
    livenessProbe: {exec: {command: [test, '!', -e, /tmp/dead]}, periodSeconds: 1, failureThreshold: 1}, ports: [{name: web, containerPort: 80}]}]`))
	m.Kubectl("expose", "pod", "gated", "--port=80")
	m.is("pod/gated", ".status.phase", "Running")
	// Readiness alone would pass: only the startup probe holds it back.
	m.Kubectl("exec", "gated", "--", "touch", "/tmp/ok")
	m.Contains(m.Denied("wait", "pod/gated", "--for=condition=Ready", "--timeout=3s"), "timed out")
	m.same("started", m.field("pod/gated", ".status.containerStatuses[0].started"), "false")
	m.Kubectl("exec", "gated", "--", "touch", "/tmp/started")
	m.ready("gated")
	endpoint := func(want string) {
		m.Helper()
		m.Eventually("the endpoint's readiness", func() string {
			got := m.Kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=gated", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
			if got == want {
				return ""
			}
			return got
		})
	}
	endpoint("true")
	m.Kubectl("exec", "gated", "--", "rm", "/tmp/ok")
	m.Kubectl("wait", "pod/gated", "--for=condition=Ready=false", "--timeout=60s")
	endpoint("false")
	m.same("restarts for not being ready", m.field("pod/gated", ".status.containerStatuses[0].restartCount"), "0")
	m.Kubectl("exec", "gated", "--", "touch", "/tmp/dead")
	m.is("pod/gated", ".status.containerStatuses[0].restartCount", "1")
	m.Contains(m.Kubectl("get", "events"), "Liveness probe failed", "will be restarted")
}

// hooks run after the start and before the end, and the end is graceful.
func hooks(m *machine) {
	dir := m.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		m.Fatal(err)
	}
	m.Apply(pod("polite", `  containers:
  - name: c
    image: sinawi.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "trap 'echo term >> /out/told; exit 0' TERM; echo began; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, 'echo started >> /out/told']}}
      preStop: {exec: {command: [sh, -c, 'echo stopping >> /out/told']}}
    volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: `+dir+`, type: Directory}}]`) +
		pod("stubborn", `  containers: [{name: c, BUSYBOX, command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]}]`) +
		pod("unhooked", `  containers: [{name: c, BUSYBOX, command: [sleep, '100000'], lifecycle: {postStart: {exec: {command: [sh, -c, 'echo why it is; exit 9']}}}}]`))
	m.ready("polite", "stubborn")
	m.Kubectl("patch", "pod", "polite", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/look"]}}`)
	m.Kubectl("delete", "pod", "polite", "--grace-period=60", "--wait=false")
	m.is("pod/polite", ".status.phase", "Succeeded")
	m.Kubectl("patch", "pod", "polite", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	told, err := os.ReadFile(dir + "/told")
	m.same("what the container was told", string(told), "started\nstopping\nterm\n")
	if err != nil {
		m.Error(err)
	}
	m.Kubectl("delete", "pod", "stubborn", "--timeout=60s")
	m.Eventually("a hook that fails is told", func() string {
		if out := m.Kubectl("describe", "pod", "unhooked"); !strings.Contains(out, "FailedPostStartHook") {
			return out
		}
		return ""
	})
}

// limits are those of the cgroup, and whoever takes more is ended for it.
func limits(m *machine) {
	m.Apply(pod("small", `  containers: [{name: c, BUSYBOX, command: [sleep, '100000'], resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 32Mi}},
    env: [{name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}, {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}]}]`) +
		pod("greedy", `  restartPolicy: Never
  containers: [{name: c, BUSYBOX, command: [sh, -c, 'x=0123456789abcdef; while :; do x=$x$x; done'], resources: {limits: {memory: 16Mi}}}]`) +
		pod("best", `  containers: [{name: c, BUSYBOX, command: [sleep, '100000']}]`))
	m.ready("small", "best")
	m.same("memory limit", m.Kubectl("exec", "small", "--", "sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; echo $CPU $MEM"), "33554432\n200 33554432\n")
	m.same("CPU limit", m.Kubectl("exec", "small", "--", "sh", "-c", "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | cut -d' ' -f1"), "20000\n")
	m.is("pod/greedy", ".status.phase", "Failed")
	m.same("reason", m.field("pod/greedy", ".status.containerStatuses[0].state.terminated.reason"), "OOMKilled")
	m.same("exit code", m.field("pod/greedy", ".status.containerStatuses[0].state.terminated.exitCode"), "137")
	m.same("classes", m.Kubectl("get", "pods", "-o", "jsonpath={.items[*].status.qosClass}"), "BestEffort Burstable Burstable")
}

// pullImages pulls from registries on the node's loopback, open and closed.
func pullImages(m *machine) {
	open, closed := m.registry(nil), m.registry(&images.Login{User: "someone", Password: "secret phrase"})
	spec := images.BusyBox(m.TB)
	// Content of their own: who may use an image is remembered by content.
	spec.Labels = map[string]string{"for": "all"}
	free := open.Push(m.TB, spec, "team/free:1")
	spec.Labels = map[string]string{"for": "members"}
	locked := closed.Push(m.TB, spec, "team/locked:1")
	pulled := func(name, image, more string) string {
		return pod(name, "  containers: [{name: c, image: '"+image+"', command: [sleep, '100000']"+more+"}]")
	}
	m.Apply(pulled("free", free, "") + pulled("locked", locked, ""))
	m.ready("free")
	m.Contains(m.Kubectl("describe", "pod", "free"), "Successfully pulled image", "Pulling image")
	m.Contains(m.field("pod/free", ".status.containerStatuses[0].imageID"), "@sha256:")
	m.Eventually("without login", func() string {
		out := m.Kubectl("describe", "pod", "locked")
		return missing(out, "ErrImagePull", "pull access denied")
	})
	m.Kubectl("create", "secret", "docker-registry", "login", "--docker-server="+closed.Host, "--docker-username=someone", "--docker-password=secret phrase")
	m.Kubectl("delete", "pod", "locked")
	m.Apply(pod("unlocked", "  imagePullSecrets: [{name: login}]\n  containers: [{name: c, image: '"+locked+"', command: [sleep, '100000']}]"))
	m.ready("unlocked")
	// A pod without the secret does not get the image because it lies there.
	m.Apply(pulled("thief", locked, ", imagePullPolicy: Always"))
	m.Eventually("a private image for a stranger", func() string {
		return missing(m.Kubectl("describe", "pod", "thief"), "ErrImagePull", "pull access denied")
	})
	m.Kubectl("patch", "serviceaccount", "default", "-p", `{"imagePullSecrets":[{"name":"login"}]}`)
	m.Apply(pulled("member", locked, ", imagePullPolicy: Always"))
	m.ready("member")

	before := open.Requests()
	m.Apply(pulled("again", free, ""))
	m.ready("again")
	if now := open.Requests(); now != before {
		m.Errorf("IfNotPresent asked the registry %d times for what lies there", now-before)
	}
	m.Apply(pulled("always", free, ", imagePullPolicy: Always"))
	m.ready("always")
	if open.Requests() == before {
		m.Error("Always did not ask the registry")
	}
	m.Contains(m.Sinawi("image", "ls"), "team/free")
}

// registry starts a registry on the node's loopback.
func (m *machine) registry(login *images.Login) *images.Server {
	m.Helper()
	listener, err := m.Listen("127.0.0.1:0")
	if err != nil {
		m.Fatal(err)
	}
	return images.RegistryOn(m.TB, listener, login)
}

// missing names what is not in a text; "" if all is.
func missing(text string, wanted ...string) string {
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			return fmt.Sprintf("no %q in:\n%s", w, text)
		}
	}
	return ""
}
