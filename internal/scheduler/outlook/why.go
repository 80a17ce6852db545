package outlook

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Answer says where a pod can run, and what stands in the way.
type Answer struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Phase     string `json:"phase"`
	Node      string `json:"node,omitempty"` // where it is
	// Gates keep it from being placed at all.
	Gates []string `json:"gates,omitempty"`
	// Scheduler is who places it, where that is not Sinawi's.
	Scheduler string `json:"scheduler,omitempty"`
	// Problem stands in the way on every node.
	Problem string `json:"problem,omitempty"`
	// Held is why its group or its queue keeps it waiting, whatever nodes say.
	Held  string `json:"held,omitempty"`
	Nodes []Node `json:"nodes"`
	// Preemption is whose place it can take by its priority.
	Preemption *Preemption `json:"preemption,omitempty"`
	// Smallest is the node where the least would have to change.
	Smallest *Node `json:"smallest,omitempty"`
}

// Fits are the nodes that can take the pod.
func (a Answer) Fits() (names []string) {
	for i := range a.Nodes {
		if a.Nodes[i].Fits {
			names = append(names, a.Nodes[i].Node)
		}
	}
	return names
}

// Node is what one node says to a pod.
type Node struct {
	Node      string     `json:"node"`
	Fits      bool       `json:"fits"`
	Obstacles []Obstacle `json:"obstacles,omitempty"`
}

// Obstacle is one thing that keeps a pod off a node, and what would remove it. Amounts
// are quantities as in a pod's resources ("1500m", "2Gi"); only the fields that the rule
// knows are set.
type Obstacle struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"` // in kube-scheduler's words

	Resource string `json:"resource,omitempty"`
	Wanted   string `json:"wanted,omitempty"`
	Free     string `json:"free,omitempty"`
	Total    string `json:"total,omitempty"`
	Missing  string `json:"missing,omitempty"`
	// TooBig: not even an empty node has as much.
	TooBig bool `json:"tooBig,omitempty"`
	// Frees are pods on the node that end by themselves and have enough.
	Frees []Holder `json:"frees,omitempty"`

	Taint  string   `json:"taint,omitempty"`  // key=value:effect
	Labels []string `json:"labels,omitempty"` // what the node's labels would have to be
	Ports  []string `json:"ports,omitempty"`  // "80/TCP, of pod shop/web"
	Domain string   `json:"domain,omitempty"` // topology key=value
	Count  int      `json:"count,omitempty"`
	Limit  int      `json:"limit,omitempty"`

	weight float64 // how much would have to change
}

// Holder is a pod that has some of what is missing.
type Holder struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Owner     *Owner `json:"owner,omitempty"`
	Amount    string `json:"amount"`
}

// Preemption is a place that a pod's priority gives it.
type Preemption struct {
	Node    string   `json:"node"`
	Victims []string `json:"victims"` // namespace/name
	Budgets int      `json:"budgets"` // disruption budgets that it would break
}

// Why asks all nodes about a pod. A pod that has a node is asked about as if it had none.
func (c *Cluster) Why(pod *corev1.Pod) Answer {
	out := Answer{Namespace: pod.Namespace, Name: pod.Name, Phase: string(pod.Status.Phase), Node: pod.Spec.NodeName}
	for _, g := range pod.Spec.SchedulingGates {
		out.Gates = append(out.Gates, g.Name)
	}
	if s := pod.Spec.SchedulerName; s != "" && s != corev1.DefaultSchedulerName && c.known[s] == nil {
		out.Scheduler = s
	}
	out.Held = c.heldBack(pod)
	if pod.Spec.NodeName != "" {
		made := c.devices.Made(pod.UID)
		c.forget(pod.UID)
		defer c.count(pod, pod.Spec.NodeName)
		if made != nil {
			defer c.devices.Set(made, false)
		}
		pod = pod.DeepCopy()
		pod.Spec.NodeName = ""
	}
	q := c.ask(pod)
	if q.problem != "" {
		out.Problem = q.problem
		return out
	}
	refused := map[string][]engine.Refusal{}
	for _, n := range c.engine.Diagnose(q.Ask) {
		refused[n.Node] = n.Refusals
	}
	for name := range c.nodes {
		n := Node{Node: name, Fits: len(refused[name]) == 0}
		for _, r := range refused[name] {
			n.Obstacles = append(n.Obstacles, c.obstacle(pod, c.nodes[name], q.counted(c.nodes[name], r)))
		}
		out.Nodes = append(out.Nodes, n)
	}
	slices.SortFunc(out.Nodes, func(a, b Node) int { return strings.Compare(a.Node, b.Node) })
	if len(out.Nodes) > 0 && len(out.Fits()) == 0 {
		out.Smallest = smallest(out.Nodes)
		out.Preemption = c.preemption(pod, q)
	}
	return out
}

func (c *Cluster) preemption(pod *corev1.Pod, q question) *Preemption {
	if p := pod.Spec.PreemptionPolicy; p != nil && *p == corev1.PreemptNever {
		return nil
	}
	found, _ := c.engine.Preempt(q.Ask, c.engineBudgets())
	if found == nil {
		return nil
	}
	out := &Preemption{Node: found.Node, Budgets: found.Violations, Victims: []string{}}
	for _, v := range found.Victims {
		out.Victims = append(out.Victims, v.Namespace+"/"+v.Name)
	}
	return out
}

// smallest is the node where the least would have to change.
func smallest(nodes []Node) *Node {
	weight := func(n Node) (sum float64) {
		for _, o := range n.Obstacles {
			sum += o.weight
		}
		return sum
	}
	best := slices.MinFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(a.Node, b.Node))
	})
	return &best
}

// Weights order changes by how much they ask of whom: waiting costs nothing but time,
// a line in the pod little, a label or taint of a node concerns others too, another
// machine is the most.
const (
	weightWait  = 0.5
	weightPod   = 1
	weightNode  = 2
	weightOther = 4
	weightBuy   = 16
)

// counted is a refusal for devices with the resource of which there are too few, where
// the pod asks for them so.
func (q question) counted(node *corev1.Node, r engine.Refusal) engine.Refusal {
	if r.Rule == engine.RuleDevices && q.devices != nil {
		r.Resource, r.Wanted, r.Used, r.Total = q.devices.Short(node)
	}
	return r
}

func (c *Cluster) obstacle(pod *corev1.Pod, node *corev1.Node, r engine.Refusal) Obstacle {
	out := Obstacle{Rule: string(r.Rule), Reason: r.Reason, weight: weightOther}
	switch r.Rule {
	case engine.RuleResources:
		c.short(&out, node.Name, r)
	case engine.RuleDevices:
		if r.Resource != "" {
			c.short(&out, node.Name, r)
		}
	case engine.RuleTaints, engine.RuleUnschedulable:
		if r.Taint != nil {
			out.Taint = r.Taint.ToString()
		}
		out.weight = weightPod
		if r.Rule == engine.RuleUnschedulable {
			out.weight = weightNode
		}
	case engine.RuleNodeAffinity:
		out.Labels = labelsWanted(pod, node)
		out.weight = weightNode * float64(max(1, len(out.Labels)))
	case engine.RulePorts:
		out.Ports = c.portsTaken(pod, node.Name)
	case engine.RuleSpread, engine.RuleInterPod:
		if r.Key != "" {
			out.Domain = r.Key + "=" + r.Value
		}
		out.Count, out.Limit = r.Count, r.Limit
	}
	return out
}

// short explains a resource of which there is too little.
func (c *Cluster) short(out *Obstacle, node string, r engine.Refusal) {
	free := max(0, r.Total-r.Used)
	out.Resource, out.TooBig = string(r.Resource), r.Wanted > r.Total
	out.Wanted, out.Free, out.Total = amount(r.Resource, r.Wanted), amount(r.Resource, free), amount(r.Resource, r.Total)
	missing := r.Wanted - free
	out.Missing = amount(r.Resource, missing)
	switch {
	case r.Total == 0:
		out.weight = weightBuy
	case out.TooBig:
		out.weight = weightOther + float64(missing)/float64(r.Wanted)
	default:
		out.weight = weightPod + float64(missing)/float64(r.Wanted)
	}
	for _, pod := range c.on(node) {
		has := int64(1)
		if r.Resource != corev1.ResourcePods {
			amounts := demand.AmountsOf(demand.Requests(pod))
			has = amounts.Of(r.Resource)
		}
		if owner := ownerOf(pod); endsByItself(pod) && has >= missing && !out.TooBig {
			out.Frees = append(out.Frees, Holder{Namespace: pod.Namespace, Name: pod.Name, Owner: owner, Amount: amount(r.Resource, has)})
			out.weight = weightWait
		}
	}
}

// endsByItself says that a pod will leave its node without anybody's doing.
func endsByItself(pod *corev1.Pod) bool {
	owner := ownerOf(pod)
	return pod.DeletionTimestamp != nil || pod.Spec.RestartPolicy == corev1.RestartPolicyNever ||
		pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && owner != nil && owner.Kind == "Job"
}

// amount writes an amount as a quantity: CPU comes in thousandths.
func amount(name corev1.ResourceName, n int64) string {
	switch name {
	case corev1.ResourceCPU:
		return resource.NewMilliQuantity(n, resource.DecimalSI).String()
	case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return resource.NewQuantity(n, resource.BinarySI).String()
	}
	return resource.NewQuantity(n, resource.DecimalSI).String()
}

// labelsWanted are the labels that a node lacks: of several alternatives the one that
// lacks least.
func labelsWanted(pod *corev1.Pod, node *corev1.Node) []string {
	var out []string
	for key, value := range pod.Spec.NodeSelector {
		if have, ok := node.Labels[key]; !ok || have != value {
			out = append(out, key+"="+value)
		}
	}
	slices.Sort(out)
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return out
	}
	var least []string
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		lacks := termLacks(term, node)
		if len(lacks) == 0 {
			return out
		}
		if least == nil || len(lacks) < len(least) {
			least = lacks
		}
	}
	return append(out, least...)
}

func termLacks(term corev1.NodeSelectorTerm, node *corev1.Node) (out []string) {
	for _, e := range term.MatchExpressions {
		if !matches(corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{e}}, node) {
			out = append(out, expression(e))
		}
	}
	for _, e := range term.MatchFields {
		if !matches(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{e}}, node) {
			out = append(out, expression(e))
		}
	}
	return out
}

func matches(term corev1.NodeSelectorTerm, node *corev1.Node) bool {
	selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}})
	return err == nil && selector.Match(node)
}

func expression(e corev1.NodeSelectorRequirement) string {
	values := strings.Join(e.Values, ", ")
	switch e.Operator {
	case corev1.NodeSelectorOpIn:
		if len(e.Values) == 1 {
			return e.Key + "=" + values
		}
		return e.Key + " in (" + values + ")"
	case corev1.NodeSelectorOpNotIn:
		return e.Key + " not in (" + values + ")"
	case corev1.NodeSelectorOpExists:
		return e.Key
	case corev1.NodeSelectorOpDoesNotExist:
		return "!" + e.Key
	case corev1.NodeSelectorOpGt:
		return e.Key + " > " + values
	case corev1.NodeSelectorOpLt:
		return e.Key + " < " + values
	}
	return e.Key + " " + string(e.Operator) + " " + values
}

// portsTaken names who has the host ports that a pod wants.
func (c *Cluster) portsTaken(pod *corev1.Pod, node string) (out []string) {
	wanted := hostPorts(pod)
	for _, other := range c.on(node) {
		for _, have := range hostPorts(other) {
			for _, w := range wanted {
				if w.HostPort == have.HostPort && cmp.Or(w.Protocol, corev1.ProtocolTCP) == cmp.Or(have.Protocol, corev1.ProtocolTCP) {
					out = append(out, strconv.Itoa(int(w.HostPort))+"/"+
						string(cmp.Or(w.Protocol, corev1.ProtocolTCP))+" of pod "+other.Namespace+"/"+other.Name)
				}
			}
		}
	}
	return out
}

func hostPorts(pod *corev1.Pod) (out []corev1.ContainerPort) {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort != 0 {
				out = append(out, p)
			}
		}
	}
	return out
}
