package node

// outlook asks why a pod waits and what would be, and checks that nothing was made.
func outlook(m *machine) {
	m.apply(pod("huge", "  nodeSelector: {disk: ssd}\n  containers: [{name: c, BUSYBOX, resources: {requests: {cpu: '900'}}}]") +
		sleeper("here"))
	m.kubectl("wait", "--for=condition=Ready", "pod/here", "--timeout=100s")
	m.kubectl("wait", "--for=condition=PodScheduled=false", "pod/huge", "--timeout=100s")
	contains(m, m.sinawi("why", "pod/huge", "-n", m.namespace),
		"pod "+m.namespace+"/huge waits: none of 1 nodes can take it", "needs 900 CPU, the node has only", "lacks disk=ssd", "Smallest change: node n1")
	contains(m, m.sinawi("why", "huge", "-n", m.namespace, "-o", "json"), `"wanted": "900"`, `"labels"`)
	contains(m, m.sinawi("why", "here", "-n", m.namespace), "is on node n1; 1 of 1 nodes could have it")
	contains(m, m.refused("why", "nobody", "-n", m.namespace), "there is no pod nobody in namespace "+m.namespace)

	file := m.file(`
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
	contains(m, m.sinawi("plan", "-f", file, "-n", m.namespace),
		"deployment "+m.namespace+"/planned", "n1: 2", "✗ nowhere: 1", "needs 900Gi memory",
		"pod "+m.namespace+"/wrong would be refused", "spec.containers[0].name")
	contains(m, m.denied("get", "deployment", "planned"), "not found")
	contains(m, m.sinawi("plan", "--drain", "n1"), m.namespace+"/here", "is lost: nothing makes another")
	contains(m, m.refused("plan", "--drain", "n9"), `there is no node "n9"`)
	contains(m, m.refused("plan"), "name manifests with -f FILE")
}
