package statefulset

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// ordinal is the number of a pod of the set, or false if its name is no such.
func ordinal(set *appsv1.StatefulSet, pod metav1.Object) (int, bool) {
	rest, ok := strings.CutPrefix(pod.GetName(), set.Name+"-")
	if !ok || rest == "" || (rest[0] == '0' && len(rest) > 1) || rest[0] == '+' || rest[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(rest, 10, 32)
	return int(n), err == nil
}

func podName(set *appsv1.StatefulSet, n int) string { return set.Name + "-" + strconv.Itoa(n) }

func claimName(set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim, n int) string {
	return claim.Name + "-" + set.Name + "-" + strconv.Itoa(n)
}

// build makes the pod of that number from a template of that revision.
func build(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, n int) *corev1.Pod {
	pod := workload.FromTemplate(template, set, metav1.NewControllerRef(set, kind))
	identify(set, pod, n)
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision
	pod.Spec.Hostname = pod.Name
	pod.Spec.Subdomain = set.Spec.ServiceName
	store(set, pod, n)
	return pod
}

// identify gives a pod the name and labels of its number.
func identify(set *appsv1.StatefulSet, pod *corev1.Pod, n int) {
	pod.Name = podName(set, n)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(n)
}

// identified says whether a pod bears its labels still.
func identified(set *appsv1.StatefulSet, pod *corev1.Pod, n int) bool {
	return pod.Labels[appsv1.StatefulSetPodNameLabel] == podName(set, n) && pod.Labels[appsv1.PodIndexLabel] == strconv.Itoa(n)
}

// store points the pod's volumes at its claims.
func store(set *appsv1.StatefulSet, pod *corev1.Pod, n int) {
	claimed := map[string]bool{}
	var volumes []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		claim := &set.Spec.VolumeClaimTemplates[i]
		claimed[claim.Name] = true
		volumes = append(volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, claim, n)},
		}})
	}
	for _, v := range pod.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = volumes
}

// claims are the claims of the pod of that number.
func claims(set *appsv1.StatefulSet, n int) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		template := &set.Spec.VolumeClaimTemplates[i]
		claim := template.DeepCopy()
		claim.Namespace = set.Namespace
		claim.Name = claimName(set, template, n)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		out = append(out, claim)
	}
	return out
}

// claimOwners returns the owners that a claim should have: who owns it decides
// with whom it goes. condemned is set when its number is being given up. A claim
// that another controller has, or a set or pod of the same name that is gone, is
// left to whoever that is.
func claimOwners(set *appsv1.StatefulSet, have []metav1.OwnerReference, n int, condemned *corev1.Pod) []metav1.OwnerReference {
	const remove = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	var whenDeleted, whenScaled appsv1.PersistentVolumeClaimRetentionPolicyType
	if p := set.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		whenDeleted, whenScaled = p.WhenDeleted, p.WhenScaled
	}
	var out []metav1.OwnerReference
	foreign := false
	for _, ref := range have {
		switch {
		case ref.APIVersion == kind.GroupVersion().String() && ref.Kind == kind.Kind && ref.Name == set.Name:
			if ref.UID != set.UID {
				return have
			}
		case ref.APIVersion == "v1" && ref.Kind == "Pod" && ref.Name == podName(set, n):
			if condemned != nil && ref.UID != condemned.UID {
				return have
			}
		default:
			foreign = foreign || ref.Controller != nil && *ref.Controller
			out = append(out, ref)
		}
	}
	switch {
	case foreign:
	case condemned != nil && whenScaled == remove:
		out = append(out, *metav1.NewControllerRef(condemned, corev1.SchemeGroupVersion.WithKind("Pod")))
	case whenDeleted == remove:
		out = append(out, *metav1.NewControllerRef(set, kind))
	}
	return out
}
