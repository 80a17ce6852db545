package node

import (
	"strings"
	"time"
)

// worker works as long as /tmp/busy is there. Its limit leaves the machine to
// the other tests.
const worker = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: sinawi.local/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, 'while true; do [ -e /tmp/busy ] || sleep 1; done']
        resources: {requests: {cpu: 20m, memory: 4Mi}, limits: {cpu: 200m}}
`

// autoscale has a deployment follow its load, up and down, by what the node
// itself measures.
func autoscale(m *machine) {
	m.Apply(worker)
	m.Kubectl("rollout", "status", "deployment/worker", "--timeout=100s")
	pod := strings.TrimPrefix(strings.TrimSpace(m.Kubectl("get", "pods", "-l", "app=worker", "-o", "name")), "pod/")

	m.Eventually("usage of pods", func() string {
		out := m.Kubectl("top", "pods", "--containers")
		if fields := strings.Fields(out); len(fields) != 8 || fields[4] != pod || fields[5] != "c" {
			return out
		}
		return ""
	})
	m.Contains(m.Kubectl("top", "nodes"), "NAME", "CPU(cores)", "MEMORY(bytes)", "n1")
	m.Contains(m.Kubectl("get", "podmetrics"), "CPU", "MEMORY", "WINDOW", pod)

	m.Kubectl("autoscale", "deployment", "worker", "--cpu=50%", "--min=1", "--max=3")
	m.Kubectl("patch", "hpa", "worker", "--type=merge", "-p",
		`{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":0,"policies":[{"type":"Percent","value":100,"periodSeconds":15}]}}}}`)
	m.Kubectl("wait", "hpa/worker", "--for=condition=ScalingActive", "--timeout=100s")

	m.Kubectl("exec", pod, "--", "touch", "/tmp/busy")
	begin := time.Now()
	m.is("deployment/worker", ".status.readyReplicas", "3")
	m.Logf("three pods are ready %.1f s after the load began", time.Since(begin).Seconds())
	m.Eventually("words of the autoscaler", func() string {
		events := m.Kubectl("get", "events", "--field-selector=involvedObject.kind=HorizontalPodAutoscaler")
		if !strings.Contains(events, "New size: 3; reason: cpu resource utilization (percentage of request) above target") {
			return events
		}
		return ""
	})
	m.Kubectl("wait", "hpa/worker", "--for=condition=AbleToScale", "--timeout=100s")
	m.Contains(m.Kubectl("get", "hpa", "worker"), "Deployment/worker", "cpu: ", "/50%")

	m.Kubectl("exec", pod, "--", "rm", "/tmp/busy")
	m.is("deployment/worker", ".spec.replicas", "1")
}
