package engine

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Strategy is how the use of a node's resources becomes a score.
type Strategy string

// The strategies of NodeResourcesFit.
const (
	LeastAllocated           Strategy = "LeastAllocated"
	MostAllocated            Strategy = "MostAllocated"
	RequestedToCapacityRatio Strategy = "RequestedToCapacityRatio"
)

// Weighted is a resource that counts in a score, and how much.
type Weighted struct {
	Name   corev1.ResourceName
	Weight int64
}

// Point is one point of a scoring function: utilization in percent, score from
// 0 to 10.
type Point struct{ Utilization, Score int64 }

// Profile is how one schedulerName places its pods. Profiles are read only once
// they are in use. Name must tell them apart.
type Profile struct {
	Name string
	// Off has the rules that do not filter.
	Off map[Rule]bool
	// Weights has what each rule's score counts; a rule that is not in it does
	// not score.
	Weights map[Rule]int64

	IgnoredResources      map[corev1.ResourceName]bool // by NodeResourcesFit's filter
	IgnoredResourceGroups map[string]bool              // what stands before the slash
	Strategy              Strategy
	Resources             []Weighted // that the strategy looks at
	Shape                 []Point    // of RequestedToCapacityRatio
	Balanced              []Weighted // that balance is computed over
	VolumeShape           []Point    // of the use of storage

	AddedAffinity *corev1.NodeAffinity // every pod's, beside its own

	// DefaultSpread is for pods that have no constraint; its selectors come with
	// each Ask. SystemSpread says that nobody chose it, so nodes need not have
	// all its labels.
	DefaultSpread []corev1.TopologySpreadConstraint
	SystemSpread  bool

	HardAffinityWeight     int64 // a placed pod's required affinity to the pod counts this much
	IgnorePreferencesOfOld bool  // of placed pods, unless the pod has preferences itself

	MinCandidatesPercent  int // of nodes that preemption compares
	MinCandidatesAbsolute int
}

// DefaultProfile returns kube-scheduler's default profile.
func DefaultProfile() *Profile {
	both := []Weighted{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}
	return &Profile{
		Name: corev1.DefaultSchedulerName,
		Weights: map[Rule]int64{
			RuleTaints: 3, RuleNodeAffinity: 2, RuleSpread: 2, RuleInterPod: 2,
			RuleResources: 1, RuleBalanced: 1, RuleImages: 1, RuleVolumeBinding: 1, RuleDevices: 2,
		},
		VolumeShape: []Point{{0, 10}, {100, 0}},
		Strategy:    LeastAllocated, Resources: both, Balanced: both,
		DefaultSpread: systemSpread(), SystemSpread: true,
		HardAffinityWeight:    1,
		MinCandidatesPercent:  10,
		MinCandidatesAbsolute: 100,
	}
}

func systemSpread() []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{
		{TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 3},
		{TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 5},
	}
}

// spreadOf returns the constraints that count for a pod, with their selectors.
func (p *Profile) spreadOf(ask Ask) (constraints []corev1.TopologySpreadConstraint, own bool) {
	if cs := ask.Pod.Spec.TopologySpreadConstraints; len(cs) > 0 {
		return cs, true
	}
	if ask.Spread == nil || ask.Spread.Empty() {
		return nil, false
	}
	return p.DefaultSpread, false
}

func (p *Profile) ignores(name corev1.ResourceName, group string) bool {
	return p.IgnoredResources[name] || (group != "" && p.IgnoredResourceGroups[group])
}

func isHonor(p *corev1.NodeInclusionPolicy, otherwise bool) bool {
	if p == nil {
		return otherwise
	}
	return *p == corev1.NodeInclusionPolicyHonor
}

func selectorOf(s *metav1.LabelSelector) (podSelector, bool) {
	compiled, err := metav1.LabelSelectorAsSelector(s)
	return compiled, err == nil
}

func groupOf(name corev1.ResourceName) string {
	group, _, found := strings.Cut(string(name), "/")
	if !found {
		return ""
	}
	return group
}
