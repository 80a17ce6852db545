package node

import (
	"os"
	"path/filepath"
	"strings"
)

const contentObjects = `
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {colour: blue, file.txt: "first\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {word: horse}
---
`

const contentPod = `  hostname: box
  containers:
  - name: c
    BUSYBOX_
    command: [sh, -c, 'env; sleep 100000']
    args: [unused]
    env:
    - {name: PLAIN, value: plain}
    - {name: JOINED, value: "$(PLAIN)-$(COLOUR)-$$(PLAIN)"}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: config, key: colour}}}
    - {name: AFTER, value: "$(COLOUR)"}
    - {name: WORD, valueFrom: {secretKeyRef: {name: hidden, key: word}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: hidden, key: none, optional: true}}}
    - {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: WHERE, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    envFrom: [{prefix: CM_, configMapRef: {name: config}}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: config, mountPath: /one/file.txt, subPath: file.txt}
    - {name: hidden, mountPath: /hidden, readOnly: true}
    - {name: all, mountPath: /all}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /host}
  volumes:
  - {name: config, configMap: {name: config}}
  - {name: hidden, secret: {secretName: hidden, defaultMode: 0400, items: [{key: word, path: deep/word}]}}
  - name: all
    projected:
      sources:
      - configMap: {name: config, items: [{key: colour, path: colour}]}
      - secret: {name: hidden}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - serviceAccountToken: {path: token, audience: vault, expirationSeconds: 3600}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: HOSTDIR, type: DirectoryOrCreate}}`

// content looks at what a container finds in its environment and its volumes.
//
// Conformance: [sig-auth] ServiceAccounts should mount projected service account token
func content(m *machine) {
	dir := filepath.Join(m.TempDir(), "made")
	spec := strings.NewReplacer("HOSTDIR", dir, "BUSYBOX_", "image: sinawi.local/busybox:1\n    imagePullPolicy: Never").Replace(contentPod)
	m.Apply(contentObjects + pod("full", spec))
	m.ready("full")
	m.Contains(m.Kubectl("logs", "full"), "\nJOINED=plain-$(COLOUR)-$(PLAIN)\n", "\nCOLOUR=blue\n", "\nAFTER=blue\n", "\nWORD=horse\n", "\nME=full\n",
		"\nWHERE=10.42.", "\nNODE=n1\n", "\nLABEL=full\n", "\nCM_colour=blue\n", "HOSTNAME=box", "KUBERNETES_SERVICE_HOST=10.43.0.1")
	in := func(script string) string {
		m.Helper()
		return m.Kubectl("exec", "full", "--", "sh", "-c", script)
	}
	m.same("secret", in("cat /hidden/deep/word; stat -Lc ' %a' /hidden/deep/word"), "horse 400\n")
	m.same("projected", in("cat /all/colour /all/word; echo; cat /all/labels; echo; cut -d. -f1 /all/token | head -c 3"), "bluehorse\napp=\"full\"\neyJ")
	m.Contains(in("mount | grep ' /memory '; df -k /memory | tail -1"), "tmpfs", " 1024 ")
	m.Contains(m.Denied("exec", "full", "--", "touch", "/hidden/x"), "Read-only file system")
	in("echo from inside > /host/seen")
	if seen, err := os.ReadFile(filepath.Join(dir, "seen")); err != nil || string(seen) != "from inside\n" {
		m.Errorf("hostPath: got %q, %v", seen, err)
	}
	m.Kubectl("patch", "configmap", "config", "-p", `{"data":{"file.txt":"second\n","more":"m"}}`)
	m.Kubectl("patch", "secret", "hidden", "-p", `{"stringData":{"word":"staple"}}`)
	m.Kubectl("label", "pod", "full", "extra=yes")
	m.Eventually("changes reach the volumes", func() string {
		got := in("cat /config/file.txt /config/more /hidden/deep/word /all/word /all/labels")
		if got == "second\nmstaplestaple"+"app=\"full\"\nextra=\"yes\"" {
			return ""
		}
		return got
	})
	m.same("one file of a volume stays as it was", in("cat /one/file.txt"), "first\n")
	m.same("another exists next to it", in("ls /config"), "colour\nfile.txt\nmore\n")
}

const namesObjects = `
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: peer}, ports: [{name: web, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: kubernetes.default.svc.cluster.local}
---
`

// names resolves what the cluster's DNS knows.
func names(m *machine) {
	peer := func(n string) string {
		return strings.Replace(pod(n, "  hostname: "+n+"\n  subdomain: peers\n  containers: [{name: c, BUSYBOX, command: [sleep, '100000']}]"), "app: "+n, "app: peer", 1)
	}
	m.Apply(namesObjects + peer("north") + peer("south"))
	m.ready("north", "south")
	ip := func(n string) string { return m.field("pod/"+n, ".status.podIP") }
	suffix := "." + m.Namespace + ".svc.cluster.local"
	// busybox ends with an error when it finds no IPv6 address: only words count.
	ask := func(args ...string) func() string {
		return func() string {
			out, _ := m.Node.Sinawi(m.Ctx, m.InNamespace(append([]string{"exec", "north", "--", "nslookup"}, args...))...)
			return out
		}
	}
	for _, tt := range []struct {
		query []string
		want  []string
	}{
		{[]string{"peers" + suffix}, []string{"Address: " + ip("north") + "\n", "Address: " + ip("south") + "\n"}},
		{[]string{"south.peers" + suffix}, []string{"Address: " + ip("south") + "\n"}},
		{[]string{"elsewhere" + suffix}, []string{"canonical name = kubernetes.default.svc.cluster.local", "10.43.0.1"}},
		{[]string{"-type=srv", "_web._tcp.peers" + suffix}, []string{"80 north.peers" + suffix, "80 south.peers" + suffix}},
		{[]string{ip("south")}, []string{"name = south.peers" + suffix}},
		{[]string{strings.ReplaceAll(ip("south"), ".", "-") + "." + m.Namespace + ".pod.cluster.local"}, []string{ip("south")}},
		{[]string{"nobody" + suffix}, []string{"NXDOMAIN"}},
	} {
		m.Eventually(strings.Join(tt.query, " "), func() string { return missing(ask(tt.query...)(), tt.want...) })
	}
	m.same("own full name", m.Kubectl("exec", "north", "--", "hostname", "-f"), "north.peers"+suffix+"\n")
	m.Contains(m.Kubectl("exec", "north", "--", "cat", "/etc/resolv.conf"), "search "+m.Namespace+".svc.cluster.local svc.cluster.local cluster.local", "nameserver 10.43.0.10", "options ndots:5")
}

const reachObjects = `
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {type: NodePort, selector: {tier: back}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {tier: back}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: open}
spec: {type: LoadBalancer, selector: {tier: back}, ports: [{port: 8088, targetPort: web}]}
---
`

// reach asks services from inside pods, from the node, and from outside of it.
func reach(m *machine) {
	server := func(n string) string {
		return strings.Replace(pod(n, "  containers: [{name: c, BUSYBOX, command: [sh, -c, 'hostname > /tmp/name; exec httpd -f -p 8080 -h /tmp'], ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {port: web, path: /name}, periodSeconds: 1}}]"), "app: "+n, "tier: back", 1)
	}
	m.Apply(reachObjects + server("a") + server("b") + server("c") + sleeper("client"))
	m.ready("a", "b", "c", "client")
	m.is("service/open", ".status.loadBalancer.ingress[0].ip", m.IP.String())
	cluster, port := m.field("service/front", ".spec.clusterIP"), m.field("service/front", ".spec.ports[0].nodePort")
	inside := func(url string) map[string]bool {
		m.Helper()
		out := m.Kubectl("exec", "client", "--", "sh", "-c", "for i in $(seq 30); do wget -qO- "+url+"; done")
		return set(strings.Fields(out))
	}
	outside := func(url string) map[string]bool {
		m.Helper()
		seen := map[string]bool{}
		for range 30 {
			body, err := m.get(url)
			if err != nil {
				m.Fatal(err)
			}
			seen[strings.TrimSpace(body)] = true
		}
		return seen
	}
	for what, seen := range map[string]map[string]bool{
		"name from a pod":                inside("http://front/name"),
		"cluster address from a pod":     inside("http://" + cluster + "/name"),
		"node port from a pod":           inside("http://" + m.IP.String() + ":" + port + "/name"),
		"own service from a server":      set(strings.Fields(m.Kubectl("exec", "a", "--", "sh", "-c", "for i in $(seq 30); do wget -qO- http://front/name; done"))),
		"cluster address from the node":  outside("http://" + cluster + "/name"),
		"node port from the node":        outside("http://" + m.IP.String() + ":" + port + "/name"),
		"node port from another machine": m.fromHost("http://" + m.IP.String() + ":" + port + "/name"),
		"balancer from a pod":            inside("http://" + m.IP.String() + ":8088/name"),
		"balancer from the node":         outside("http://" + m.IP.String() + ":8088/name"),
		"balancer from another machine":  m.fromHost("http://" + m.IP.String() + ":8088/name"),
	} {
		if len(seen) != 3 {
			m.Errorf("%s: 30 requests reached %v, want three pods", what, seen)
		}
	}
	if seen := inside("http://sticky/name"); len(seen) != 1 {
		m.Errorf("affinity from a pod: 30 requests reached %v", seen)
	}
	if seen := outside("http://" + m.field("service/sticky", ".spec.clusterIP") + "/name"); len(seen) != 1 {
		m.Errorf("affinity from the node: 30 requests reached %v", seen)
	}
	m.Kubectl("delete", "pod", "a", "b", "c")
	m.Eventually("a service with no pods refuses", func() string {
		out, err := m.get("http://" + cluster + "/name")
		if err != nil && strings.Contains(err.Error(), "refused") {
			return ""
		}
		return out
	})
}

// set is what is in a list.
func set(list []string) map[string]bool {
	all := map[string]bool{}
	for _, e := range list {
		all[e] = true
	}
	return all
}
