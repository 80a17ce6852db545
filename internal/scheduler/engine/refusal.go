package engine

import corev1 "k8s.io/api/core/v1"

// Rule names a rule of placement as kube-scheduler's plugins are named.
type Rule string

// The rules that the engine or an Extra applies, in the order in which they are
// asked: the first one that refuses a node is what a user is told.
const (
	RuleUnschedulable   Rule = "NodeUnschedulable"
	RuleNodeName        Rule = "NodeName"
	RuleTaints          Rule = "TaintToleration"
	RuleNodeAffinity    Rule = "NodeAffinity"
	RulePorts           Rule = "NodePorts"
	RuleResources       Rule = "NodeResourcesFit"
	RuleVolumeSharing   Rule = "VolumeRestrictions"
	RuleVolumeLimits    Rule = "NodeVolumeLimits"
	RuleVolumeBinding   Rule = "VolumeBinding"
	RuleVolumeZone      Rule = "VolumeZone"
	RuleSpread          Rule = "PodTopologySpread"
	RuleInterPod        Rule = "InterPodAffinity"
	RuleDevices         Rule = "DynamicResources"
	RuleFeatures        Rule = "NodeDeclaredFeatures"
	RuleBalanced        Rule = "NodeResourcesBalancedAllocation"
	RuleImages          Rule = "ImageLocality"
	RulePreemption      Rule = "DefaultPreemption"
	RuleSchedulingGates Rule = "SchedulingGates"
)

// Refusal says why one rule keeps a pod off one node: in kube-scheduler's words
// for events, and in parts for whoever explains or looks for the smallest change
// that would help. Only the parts that the rule knows are set.
type Refusal struct {
	Rule   Rule
	Reason string
	// Final: no pod that leaves the node would help.
	Final bool

	Resource            corev1.ResourceName // RuleResources: what is short,
	Wanted, Used, Total int64               // and by how much: CPU in thousandths, the rest in base units
	Taint               *corev1.Taint       // RuleTaints: the first one that is not tolerated
	Key, Value          string              // RuleSpread, RuleInterPod: the domain
	Count, Limit        int                 // RuleSpread: pods in the domain with this one, and how many may be
}

// Reasons in kube-scheduler's words.
const (
	reasonUnschedulable = "node(s) were unschedulable"
	reasonNodeName      = "node(s) didn't match the requested node name"
	reasonAffinity      = "node(s) didn't match Pod's node affinity/selector"
	reasonNames         = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
	reasonAdded         = "node(s) didn't match scheduler-enforced node affinity"
	reasonPorts         = "node(s) didn't have free ports for the requested pod ports"
	reasonTooManyPods   = "Too many pods"
	reasonPodAffinity   = "node(s) didn't match pod affinity rules"
	reasonPodAnti       = "node(s) didn't match pod anti-affinity rules"
	reasonExistingAnti  = "node(s) didn't satisfy existing pods anti-affinity rules"
	reasonSpread        = "node(s) didn't match pod topology spread constraints"
	reasonSpreadNoLabel = "node(s) didn't match pod topology spread constraints (missing required label)"
	reasonFeatures      = "node(s) didn't match Pod's required features"
	reasonNotHelpful    = "Preemption is not helpful for scheduling"
	reasonNoVictims     = "No preemption victims found for incoming pod"
)

func anyFinal(refusals []Refusal) bool {
	for i := range refusals {
		if refusals[i].Final {
			return true
		}
	}
	return false
}
