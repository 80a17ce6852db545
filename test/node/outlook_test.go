package node

// outlook asks why a pod waits and what would be, and checks that nothing was made.
func outlook(m *machine) {
	m.Apply(pod("huge", "  nodeSelector: {disk: ssd}\n  containers: [{name: c, BUSYBOX, resources: {requests: {cpu: '900'}}}]") +
		sleeper("here"))
	m.Kubectl("wait", "--for=condition=Ready", "pod/here", "--timeout=100s")
	m.Kubectl("wait", "--for=condition=PodScheduled=false", "pod/huge", "--timeout=100s")
	m.Contains(m.Sinawi("why", "pod/huge", "-n", m.Namespace),
		"pod "+m.Namespace+"/huge waits: none of 1 nodes can take it", "needs 900 CPU, the node has only", "lacks disk=ssd", "Smallest change: node n1")
	m.Contains(m.Sinawi("why", "huge", "-n", m.Namespace, "-o", "json"), `"wanted": "900"`, `"labels"`)
	m.Contains(m.Sinawi("why", "here", "-n", m.Namespace), "is on node n1; 1 of 1 nodes could have it")
	m.Contains(m.Refused("why", "nobody", "-n", m.Namespace), "there is no pod nobody in namespace "+m.Namespace)

	file := m.File(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: planned}
spec:
  replicas: 2
  selector: {matchLabels: {app: planned}}
  template:
    metadata: {labels: {app: planned}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: toobig}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: i, resources: {requests: {memory: 900Gi}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec: {containers: [{name: "not a name", image: i}]}
`)
	m.Contains(m.Sinawi("plan", "-f", file, "-n", m.Namespace),
		"deployment "+m.Namespace+"/planned", "n1: 2", "✗ nowhere: 1", "needs 900Gi memory",
		"pod "+m.Namespace+"/wrong would be refused", "spec.containers[0].name")
	m.Contains(m.Denied("get", "deployment", "planned"), "not found")
	m.Contains(m.Sinawi("plan", "--drain", "n1"), m.Namespace+"/here", "is lost: nothing makes another")
	m.Contains(m.Refused("plan", "--drain", "n9"), `there is no node "n9"`)
	m.Contains(m.Refused("plan"), "name manifests with -f FILE")
}
