// Package status sums up a cluster for a person: what runs, how full it is, and
// above all what is wrong and what to do about it. It is a pure function of
// objects that someone else has read.
package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Report is the state of a cluster at one moment.
type Report struct {
	Parts    []Part    `json:"parts"`
	Nodes    []Node    `json:"nodes"`
	Pods     Pods      `json:"pods"`
	Problems []Problem `json:"problems"`
}

// Part is one of Sinawi's own processes, or the API.
type Part struct {
	Name    string        `json:"name"`
	Running bool          `json:"running"`
	PID     int           `json:"pid,omitempty"`
	Memory  int64         `json:"memoryBytes,omitempty"` // proportional set size
	Answers time.Duration `json:"answers,omitempty"`     // how long it took to answer
	Error   string        `json:"error,omitempty"`
}

// Node is one machine of the cluster.
type Node struct {
	Name    string            `json:"name"`
	Ready   bool              `json:"ready"`
	Address string            `json:"address"`
	Pods    int               `json:"pods"`
	MaxPods int64             `json:"maxPods"`
	CPU     Share             `json:"cpu"`    // cores
	Memory  Share             `json:"memory"` // bytes
	Age     time.Duration     `json:"age"`
	OS      string            `json:"os"`
	Taints  []string          `json:"taints,omitempty"`
	Labels  map[string]string `json:"-"`
}

// Share is how much of something pods have asked for.
type Share struct {
	Requested   string  `json:"requested"`
	Allocatable string  `json:"allocatable"`
	Ratio       float64 `json:"ratio"`
}

// Pods counts pods by what state they are in.
type Pods struct {
	Total     int `json:"total"`
	Ready     int `json:"ready"`
	Starting  int `json:"starting"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
}

// Problem is one thing that is wrong.
type Problem struct {
	Object string        `json:"object"` // "pod default/web-1"
	What   string        `json:"what"`
	Since  time.Duration `json:"since,omitempty"`
	Next   string        `json:"next"` // the command that tells more
}

// Sum makes the report of nodes and pods.
func Sum(nodes []corev1.Node, pods []corev1.Pod, now time.Time) Report {
	r := Report{Nodes: []Node{}, Problems: []Problem{}}
	byNode := map[string][]*corev1.Pod{}
	for i := range pods {
		pod := &pods[i]
		r.Pods.count(pod)
		if pod.Spec.NodeName != "" && !ended(pod) {
			byNode[pod.Spec.NodeName] = append(byNode[pod.Spec.NodeName], pod)
		}
		if p, wrong := podProblem(pod, now); wrong {
			r.Problems = append(r.Problems, p)
		}
	}
	for i := range nodes {
		r.Nodes = append(r.Nodes, sumNode(&nodes[i], byNode[nodes[i].Name], now))
		r.Problems = append(r.Problems, nodeProblems(&nodes[i], now)...)
	}
	if len(nodes) == 0 {
		r.Problems = append(r.Problems, Problem{
			Object: "cluster", What: "has no node, so no pod can run",
			Next: "sinawi logs",
		})
	}
	slices.SortFunc(r.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Problems, func(a, b Problem) int { return cmp.Compare(a.Object, b.Object) })
	return r
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (p *Pods) count(pod *corev1.Pod) {
	p.Total++
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		p.Succeeded++
	case pod.Status.Phase == corev1.PodFailed:
		p.Failed++
	case ready(pod):
		p.Ready++
	default:
		p.Starting++
	}
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func sumNode(n *corev1.Node, pods []*corev1.Pod, now time.Time) Node {
	out := Node{
		Name: n.Name, Pods: len(pods), OS: n.Status.NodeInfo.OSImage,
		Age: now.Sub(n.CreationTimestamp.Time).Round(time.Second),
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.Address = a.Address
		}
	}
	for _, t := range n.Spec.Taints {
		out.Taints = append(out.Taints, t.ToString())
	}
	out.MaxPods = n.Status.Allocatable.Pods().Value()
	var cpu, memory resource.Quantity
	for _, pod := range pods {
		for i := range pod.Spec.Containers {
			requests := pod.Spec.Containers[i].Resources.Requests
			cpu.Add(*requests.Cpu())
			memory.Add(*requests.Memory())
		}
	}
	out.CPU = share(cpu, *n.Status.Allocatable.Cpu())
	out.Memory = share(memory, *n.Status.Allocatable.Memory())
	return out
}

func share(requested, allocatable resource.Quantity) Share {
	s := Share{Requested: requested.String(), Allocatable: allocatable.String()}
	if all := allocatable.AsApproximateFloat64(); all > 0 {
		s.Ratio = requested.AsApproximateFloat64() / all
	}
	return s
}

func nodeProblems(n *corev1.Node, now time.Time) []Problem {
	var out []Problem
	for _, c := range n.Status.Conditions {
		bad := c.Status != corev1.ConditionFalse
		if c.Type == corev1.NodeReady {
			bad = c.Status != corev1.ConditionTrue
		}
		if bad {
			out = append(out, Problem{
				Object: "node " + n.Name, Since: now.Sub(c.LastTransitionTime.Time).Round(time.Second),
				What: fmt.Sprintf("%s is %s: %s", c.Type, c.Status, c.Message),
				Next: "sinawi kubectl describe node " + n.Name,
			})
		}
	}
	return out
}
