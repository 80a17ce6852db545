package node

import (
	"fmt"
	"strings"
)

// useKubectl does with kubectl what needs containers that run.
func useKubectl(m *machine) {
	// Conformance: [sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never
	runOnce(m)
	// Conformance: [sig-cli] Kubectl logs logs should be able to retrieve and filter logs
	filterLogs(m)
}

// demos are applications out of Kubernetes' examples, and how they go away again.
func demos(m *machine) {
	updateDemo(m)
	// Conformance: [sig-cli] Kubectl client Kubectl expose should create services for rc
	exposeController(m)
	// Conformance: [sig-cli] Kubectl client Guestbook application should create and stop a working application
	guestbook(m)
}

func runOnce(m *machine) {
	m.Contains(m.Kubectl("run", "once", "--restart=Never", "--image=sinawi.local/busybox:1", "--image-pull-policy=Never", "--", "echo", "ran"), "pod/once created")
	m.same("restart policy", m.field("pod/once", ".spec.restartPolicy"), "Never")
	m.same("image", m.field("pod/once", ".spec.containers[0].image"), "sinawi.local/busybox:1")
	m.is("pod/once", ".status.phase", "Succeeded")
	m.same("logs", m.Kubectl("logs", "once"), "ran\n")
	m.Kubectl("delete", "pod", "once", "--timeout=100s")
}

func filterLogs(m *machine) {
	m.Apply(pod("writer", `  containers: [{name: c, BUSYBOX, command: [sh, -c, 'for i in 1 2 3 4 5 6 7 8 9 10; do echo "line $i of many"; done; sleep 100000']}]`))
	m.ready("writer")
	m.Eventually("all lines", func() string {
		out := m.Kubectl("logs", "writer", "c")
		if strings.Count(out, "\n") == 10 {
			return ""
		}
		return out
	})
	m.same("the last line", m.Kubectl("logs", "writer", "c", "--tail=1"), "line 10 of many\n")
	m.same("one byte", m.Kubectl("logs", "writer", "c", "--limit-bytes=1"), "l")
	stamped := m.Kubectl("logs", "writer", "c", "--tail=1", "--timestamps")
	stamp, rest, _ := strings.Cut(stamped, " ")
	m.same("behind the time", rest, "line 10 of many\n")
	m.same("since the last", m.Kubectl("logs", "writer", "c", "--since-time="+stamp, "--tail=1"), "line 10 of many\n")
	m.same("since tomorrow", m.Kubectl("logs", "writer", "c", "--since-time=2999-01-01T00:00:00Z"), "")
	m.same("of the last day", fmt.Sprint(strings.Count(m.Kubectl("logs", "writer", "c", "--since=24h"), "\n")), "10")
	m.same("with the pod's name", m.Kubectl("logs", "-l", "app=writer", "--prefix", "--tail=1"), "[pod/writer/c] line 10 of many\n")
	m.Kubectl("delete", "pod", "writer", "--timeout=100s")
}

// replicated is a replication controller whose pods answer on port 8080 with a text.
func replicated(name, text string, replicas int) string {
	rc := fmt.Sprintf(`apiVersion: v1
kind: ReplicationController
metadata: {name: %[1]s, labels: {demo: %[1]s}}
spec:
  replicas: %[3]d
  selector: {demo: %[1]s}
  template:
    metadata: {labels: {demo: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, BUSYBOX, command: [sh, -c, 'mkdir /www; echo %[2]s > /www/index.html; exec httpd -f -p 8080 -h /www'], ports: [{containerPort: 8080}], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
---
`, name, text, replicas)
	return strings.ReplaceAll(rc, "BUSYBOX", "image: 'sinawi.local/busybox:1', imagePullPolicy: Never")
}

// allAnswer asks every pod of a controller, through the server's proxy.
func (m *machine) allAnswer(demo, text string, pods int) {
	m.Helper()
	m.is("rc/"+demo, ".status.readyReplicas", fmt.Sprint(pods))
	names := strings.Fields(m.Kubectl("get", "pods", "-l", "demo="+demo, "--field-selector=status.phase=Running",
		"-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}`))
	m.same("pods of "+demo, fmt.Sprint(len(names)), fmt.Sprint(pods))
	for _, name := range names {
		m.same(name, m.Kubectl("get", "--raw", "/api/v1/namespaces/"+m.Namespace+"/pods/"+name+":8080/proxy/"), text+"\n")
	}
}

func updateDemo(m *machine) {
	// Conformance: [sig-cli] Kubectl client Update Demo should create and stop a replication controller
	file := m.File(replicated("nautilus", "nautilus", 2))
	m.Kubectl("create", "-f", file)
	m.allAnswer("nautilus", "nautilus", 2)
	// Conformance: [sig-cli] Kubectl client Update Demo should scale a replication controller
	for _, n := range []int{1, 2} {
		m.Kubectl("scale", "rc", "nautilus", fmt.Sprintf("--replicas=%d", n), "--timeout=100s")
		m.is("rc/nautilus", ".status.replicas", fmt.Sprint(n))
		m.allAnswer("nautilus", "nautilus", n)
	}
	m.Kubectl("delete", "--grace-period=0", "--force", "-f", file)
	m.Kubectl("wait", "pods", "-l", "demo=nautilus", "--for=delete", "--timeout=100s")
	m.Contains(m.Kubectl("get", "rc,svc", "-l", "demo=nautilus"), "No resources found")
}

func exposeController(m *machine) {
	m.Apply(replicated("primary", "primary", 1))
	m.allAnswer("primary", "primary", 1)
	reaches := func(service, port string) {
		m.Helper()
		m.Eventually(service+" leads to the pod", func() string {
			got := m.Kubectl("get", "endpoints", service, "-o", "jsonpath={.subsets[*].addresses[*].targetRef.name} {.subsets[*].ports[*].port}")
			if strings.Contains(got, "primary-") && strings.HasSuffix(got, " 8080") {
				return ""
			}
			return got
		})
		m.same("port", m.field("service/"+service, ".spec.ports[0].port"), port)
		m.Eventually(service+" answers", func() string {
			out, err := m.Node.Sinawi(m.Ctx, m.InNamespace([]string{"get", "--raw", "/api/v1/namespaces/" + m.Namespace + "/services/" + service + ":" + port + "/proxy/"})...)
			if err == nil && out == "primary\n" {
				return ""
			}
			return fmt.Sprintf("%q, %v", out, err)
		})
	}
	m.Kubectl("expose", "rc", "primary", "--name=rm2", "--port=1234", "--target-port=8080")
	reaches("rm2", "1234")
	m.Kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=8080")
	reaches("rm3", "2345")
	m.Kubectl("delete", "rc/primary", "service/rm2", "service/rm3", "--timeout=100s")
}

// book is a frontend that asks a backend behind a service, as the guestbook does. It finds
// it by its environment: names are tried elsewhere.
const book = `apiVersion: v1
kind: Service
metadata: {name: entries, labels: {app: guestbook}}
spec: {selector: {tier: backend}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: frontend, labels: {app: guestbook}}
spec: {selector: {tier: frontend}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend, labels: {app: guestbook}}
spec:
  replicas: 1
  selector: {matchLabels: {app: guestbook, tier: backend}}
  template:
    metadata: {labels: {app: guestbook, tier: backend}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        BUSYBOX
        command:
        - sh
        - -c
        - |
          mkdir -p /www/cgi-bin && touch /entries
          { echo '#!/bin/sh'; echo 'echo "Content-Type: text/plain"'; echo 'echo'; echo '[ -z "$QUERY_STRING" ] || echo "$QUERY_STRING" >> /entries'; echo 'cat /entries'; } > /www/cgi-bin/book
          chmod +x /www/cgi-bin/book
          exec httpd -f -p 8080 -h /www
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, labels: {app: guestbook}}
spec:
  replicas: 3
  selector: {matchLabels: {app: guestbook, tier: frontend}}
  template:
    metadata: {labels: {app: guestbook, tier: frontend}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        BUSYBOX
        command:
        - sh
        - -c
        - |
          mkdir -p /www/cgi-bin
          { echo '#!/bin/sh'; echo 'echo "Content-Type: text/plain"'; echo 'echo'; echo 'exec wget -qO- "http://$ENTRIES_SERVICE_HOST/cgi-bin/book?$QUERY_STRING"'; } > /www/cgi-bin/book
          chmod +x /www/cgi-bin/book
          exec httpd -f -p 8080 -h /www
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`

func guestbook(m *machine) {
	file := m.File(strings.ReplaceAll(book, "BUSYBOX", "image: 'sinawi.local/busybox:1'\n        imagePullPolicy: Never"))
	m.Kubectl("create", "-f", file)
	m.Kubectl("rollout", "status", "deployment/backend", "--timeout=100s")
	m.Kubectl("rollout", "status", "deployment/frontend", "--timeout=100s")
	path := "/api/v1/namespaces/" + m.Namespace + "/services/frontend/proxy/cgi-bin/book"
	says := func(query, want string) {
		m.Helper()
		m.Eventually("the guestbook says "+want, func() string {
			out, err := m.Node.Sinawi(m.Ctx, m.InNamespace([]string{"get", "--raw", path + query})...)
			if err == nil && strings.Contains(out, want) {
				return ""
			}
			return fmt.Sprintf("%q, %v", out, err)
		})
	}
	says("?TestEntry", "TestEntry")
	says("", "TestEntry") // another frontend, the same backend
	m.Kubectl("delete", "--grace-period=0", "--force", "-f", file)
	m.Kubectl("wait", "pods", "-l", "app=guestbook", "--for=delete", "--timeout=100s")
	m.Contains(m.Kubectl("get", "deployments,services", "-l", "app=guestbook"), "No resources found")
}
