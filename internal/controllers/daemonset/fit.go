package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const nodeNameField = "metadata.name"

// build makes the pod for one node. It bears the node's name as an affinity: it
// takes part in scheduling like any other pod.
func build(set *appsv1.DaemonSet, node, hash string) *corev1.Pod {
	pod := workload.FromTemplate(&set.Spec.Template, set, metav1.NewControllerRef(set, kind))
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	if generation := set.Annotations[appsv1.DeprecatedTemplateGeneration]; generation != "" {
		pod.Labels[templateGenerationLabel] = generation
	}
	tolerate(&pod.Spec)
	pin(&pod.Spec, node)
	return pod
}

const templateGenerationLabel = "pod-template-generation"

// tolerate adds what every daemon stands: a node's daemons help to make it well.
func tolerate(spec *corev1.PodSpec) {
	type taint struct {
		key    string
		effect corev1.TaintEffect
	}
	stands := []taint{
		{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute},
		{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule},
		{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule},
	}
	if spec.HostNetwork {
		stands = append(stands, taint{corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule})
	}
	for _, t := range stands {
		next := corev1.Toleration{Key: t.key, Operator: corev1.TolerationOpExists, Effect: t.effect}
		if !slices.ContainsFunc(spec.Tolerations, func(have corev1.Toleration) bool { return have.MatchToleration(&next) }) {
			spec.Tolerations = append(spec.Tolerations, next)
		}
	}
}

// pin requires the node by name, in every alternative that the template leaves.
func pin(spec *corev1.PodSpec, node string) {
	field := []corev1.NodeSelectorRequirement{{Key: nodeNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := &spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	// The template's own terms were checked when the node was chosen.
	*required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: field}}}
}

// target is the node that a pod is on or meant for.
func target(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == nodeNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// fit says whether a pod should be made on the node, and whether one that is
// there may stay.
func fit(set *appsv1.DaemonSet, node *corev1.Node) (run, stay bool) {
	pod := &corev1.Pod{Spec: *set.Spec.Template.Spec.DeepCopy()}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return false, false
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return false, false
	}
	tolerate(&pod.Spec)
	refused := func(effects ...corev1.TaintEffect) bool {
		_, yes := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations,
			func(t *corev1.Taint) bool { return slices.Contains(effects, t.Effect) }, false)
		return yes
	}
	stay = !refused(corev1.TaintEffectNoExecute)
	return stay && !refused(corev1.TaintEffectNoSchedule), stay
}
