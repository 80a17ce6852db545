package scheduler_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/internal/scheduler/config"
)

func bound(p *corev1.Pod) bool { return p.Spec.NodeName != "" }

// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run
func TestResources(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	r.addPod("filler", "700m", nil)
	r.awaitNode("filler", "n1")
	r.addPod("additional", "500m", nil)
	r.awaitUnschedulable("additional", "0/1 nodes are available: 1 Insufficient cpu.")
	r.addPod("overhead", "200m", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("400m")}}}}
	})
	r.awaitUnschedulable("overhead", "Insufficient cpu")
	r.addPod("small", "300m", nil)
	r.awaitNode("small", "n1")
}

// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching
// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching
func TestNodeSelector(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	r.addNode("n2", "1")
	selects := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"example.com/disk": "fast"} }
	r.addPod("restricted", "100m", selects)
	r.awaitUnschedulable("restricted", "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.")
	patch := []byte(`{"metadata":{"labels":{"example.com/disk":"fast"}}}`)
	if _, err := r.CoreV1().Nodes().Patch(r.ctx, "n2", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitNode("restricted", "n2")
	r.addPod("with-labels", "100m", selects)
	r.awaitNode("with-labels", "n2")
	r.addPod("named", "5", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}},
			}}},
		}}}
	})
	r.awaitUnschedulable("named", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].")
	r.addPod("torn", "100m", func(p *corev1.Pod) {
		named := func(node string) corev1.NodeSelectorRequirement {
			return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
		}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{named("n1"), named("n2")}}},
		}}}
	})
	r.awaitUnschedulable("torn", "0/2 nodes are available: pod affinity terms conflict. not found")
}

// Conformance: [sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP
func TestHostPorts(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	takes := func(ip string, protocol corev1.Protocol) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 54322, HostIP: ip, Protocol: protocol}}
		}
	}
	r.addPod("any", "0", takes("", corev1.ProtocolTCP))
	r.awaitNode("any", "n1")
	r.addPod("one", "0", takes("127.0.0.1", corev1.ProtocolTCP))
	r.awaitUnschedulable("one", "didn't have free ports for the requested pod ports")
	r.addPod("udp", "0", takes("127.0.0.1", corev1.ProtocolUDP))
	r.awaitNode("udp", "n1")
}

// Labels of a namespace decide whom a term speaks of.
func TestNamespaceLabelsChange(t *testing.T) {
	r := start(t)
	r.addNode("n1", "4")
	r.addPod("lonely", "0", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "noisy"}},
		}}}}
	})
	r.awaitNode("lonely", "n1")
	label := func(value string) {
		patch := []byte(`{"metadata":{"labels":{"team":"` + value + `"}}}`)
		if _, err := r.CoreV1().Namespaces().Patch(r.ctx, "other", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"team": "noisy"}}}
	if _, err := r.CoreV1().Namespaces().Create(r.ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.addAccount("other")
	r.addPodIn("other", "neighbour", "0", nil)
	p := r.awaitIn("other", "neighbour", "refused", func(p *corev1.Pod) bool {
		c := scheduled(p)
		return c != nil && c.Status == corev1.ConditionFalse
	})
	if got := scheduled(p).Message; got != "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod." {
		t.Errorf("message: %q", got)
	}
	label("quiet")
	r.awaitIn("other", "neighbour", "bound", bound)
}

func TestProfiles(t *testing.T) {
	c, err := config.Parse([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- {schedulerName: default-scheduler}
- schedulerName: batch
  pluginConfig:
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n2]}]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	r := startWith(t, scheduler.Options{Config: &c})
	r.addNode("n1", "8")
	r.addNode("n2", "1")
	r.addPod("service", "1", nil)
	r.awaitNode("service", "n1")
	r.addPod("batch", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "batch" })
	r.awaitNode("batch", "n2")
	r.addPod("more", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "batch" })
	r.awaitUnschedulable("more", "1 Insufficient cpu, 1 node(s) didn't match scheduler-enforced node affinity.")
}
