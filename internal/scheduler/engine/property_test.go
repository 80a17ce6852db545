package engine

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// world is the naive oracle: plain maps, everything computed again when asked.
type world struct {
	nodes map[string]*corev1.Node
	pods  map[types.UID]*corev1.Pod
	where map[types.UID]string
}

// fits says whether a pod may go to a node, straight from the objects.
func (w world) fits(pod *corev1.Pod, n *corev1.Node) bool {
	if n.Spec.Unschedulable {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoSchedule && len(pod.Spec.Tolerations) == 0 {
			return false
		}
	}
	for k, v := range pod.Spec.NodeSelector {
		if n.Labels[k] != v {
			return false
		}
	}
	used, count := int64(0), int64(0)
	for uid, where := range w.where {
		if where != n.Name {
			continue
		}
		count++
		other := w.pods[uid]
		used += cpuOf(other)
		if p, q := hostPortOf(pod), hostPortOf(other); p != 0 && p == q {
			return false
		}
	}
	cpu := cpuOf(pod)
	return count < n.Status.Allocatable.Pods().Value() && (cpu == 0 || used+cpu <= n.Status.Allocatable.Cpu().MilliValue())
}

func cpuOf(p *corev1.Pod) int64 { return p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() }

func hostPortOf(p *corev1.Pod) int32 {
	if ports := p.Spec.Containers[0].Ports; len(ports) > 0 {
		return ports[0].HostPort
	}
	return 0
}

func drawNode(t *rapid.T) *corev1.Node {
	n := makeNode(fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node")), fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "cpu")), "8Gi",
		label("zone", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")))
	if rapid.IntRange(0, 3).Draw(t, "tainted") == 0 {
		taint("t", "", corev1.TaintEffectNoSchedule)(n)
	}
	n.Spec.Unschedulable = rapid.IntRange(0, 5).Draw(t, "cordoned") == 0
	return n
}

func drawPod(t *rapid.T, i int) *corev1.Pod {
	p := makePod(fmt.Sprintf("p%d", i), rapid.SampledFrom([]string{"", "500m", "1", "2"}).Draw(t, "request"))
	if rapid.IntRange(0, 3).Draw(t, "selects") == 0 {
		selector("zone", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "wanted zone"))(p)
	}
	if rapid.IntRange(0, 3).Draw(t, "tolerates") == 0 {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		p.Spec.Tolerations[0].Key = "t"
	}
	if rapid.IntRange(0, 4).Draw(t, "hostport") == 0 {
		port(rapid.SampledFrom([]int32{80, 81}).Draw(t, "port"))(p)
	}
	return p
}

// Whatever happened to the cluster, the engine places a pod exactly when the
// oracle finds a node for it, and on a node that the oracle allows.
func TestEngineAgreesWithNaiveChecker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, where: map[types.UID]string{}}
		e := New(noNamespaces)
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"node": func(t *rapid.T) {
				n := drawNode(t)
				w.nodes[n.Name] = n
				e.SetNode(n)
			},
			"node goes": func(t *rapid.T) {
				name := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node"))
				delete(w.nodes, name)
				e.RemoveNode(name)
			},
			"pod ends": func(t *rapid.T) {
				if next == 0 {
					t.Skip("no pod yet")
				}
				uid := types.UID(fmt.Sprintf("p%d", rapid.IntRange(0, next-1).Draw(t, "pod")))
				delete(w.pods, uid)
				delete(w.where, uid)
				e.RemovePod(uid)
			},
			"place": func(t *rapid.T) {
				pod := drawPod(t, next)
				next++
				possible := map[string]bool{}
				for name, n := range w.nodes {
					if w.fits(pod, n) {
						possible[name] = true
					}
				}
				ask := Ask{Pod: pod}
				node, ok := e.Place(ask)
				if ok != (len(possible) > 0) || (ok && !possible[node]) {
					t.Fatalf("engine says %q %v, checker allows %v", node, ok, possible)
				}
				if !ok {
					if x := e.Explain(ask); len(x.Nodes) != len(w.nodes) {
						t.Fatalf("explained %d of %d nodes", len(x.Nodes), len(w.nodes))
					}
					return
				}
				e.SetPod(pod, node)
				w.pods[pod.UID], w.where[pod.UID] = pod, node
			},
		})
	})
}
