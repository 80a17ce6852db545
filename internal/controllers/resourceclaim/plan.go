package resourceclaim

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// done says whether a pod will never use devices any more.
func done(pod *corev1.Pod) bool {
	return workload.Finished(pod) || pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

// recorded is the name of the claim that was made for an entry of the pod. made
// is false when none was; an empty name is that none is needed.
func recorded(pod *corev1.Pod, entry string) (name string, made bool) {
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.Name == entry {
			if s.ResourceClaimName == nil {
				return "", true
			}
			return *s.ResourceClaimName, true
		}
	}
	return "", false
}

// claimOf is the name of the claim that an entry of the pod uses, "" for none.
func claimOf(pod *corev1.Pod, entry *corev1.PodResourceClaim) string {
	if entry.ResourceClaimName != nil {
		return *entry.ResourceClaimName
	}
	name, _ := recorded(pod, entry.Name)
	return name
}

// claims are the names of all claims that the pod uses.
func claims(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.ResourceClaims {
		if name := claimOf(pod, &pod.Spec.ResourceClaims[i]); name != "" {
			out = append(out, name)
		}
	}
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil && extended.ResourceClaimName != "" {
		out = append(out, extended.ResourceClaimName)
	}
	return out
}

// maxBase leaves room for the characters that make a name unique.
const maxBase = 57

// fromTemplate makes the claim of an entry of the pod.
func fromTemplate(pod *corev1.Pod, entry string, template *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	base := pod.Name + "-" + entry + "-"
	if n := len(base); n > maxBase { // both keep their share
		base = pod.Name[:len(pod.Name)*maxBase/n] + "-" + entry[:len(entry)*maxBase/n]
	}
	annotations := maps.Clone(template.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = entry
	yes := true
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: base, Labels: maps.Clone(template.Spec.Labels), Annotations: annotations,
			// It does not keep its pod from going in the foreground.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}},
		},
		Spec: *template.Spec.Spec.DeepCopy(),
	}
}

// isFor says why a claim that a pod names is not the pod's own.
func isFor(pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	if !metav1.IsControlledBy(claim, pod) {
		return fmt.Errorf("ResourceClaim %s/%s was not created for Pod %s/%s (Pod is not owner)", claim.Namespace, claim.Name, pod.Namespace, pod.Name)
	}
	return nil
}

// reservable says whether the pod may be noted as one more user of the claim.
func reservable(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	return claim.Status.Allocation != nil && len(claim.Status.ReservedFor) < resourcev1.ResourceClaimReservedForMaxSize &&
		!slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
}

// users says which users of a claim stay: gone tells of a pod that it is no
// user any more.
func users(claim *resourcev1.ResourceClaim, gone func(resourcev1.ResourceClaimConsumerReference) bool) []resourcev1.ResourceClaimConsumerReference {
	out := []resourcev1.ResourceClaimConsumerReference{}
	for _, r := range claim.Status.ReservedFor {
		if r.APIGroup != "" || r.Resource != "pods" || !gone(r) {
			out = append(out, r)
		}
	}
	return out
}

// change is what is to be written of a claim.
type change struct {
	status, release, remove bool
	next                    *resourcev1.ResourceClaim
}

// settle says what becomes of a claim with these users left and an owner that
// is done or not. Devices are given back with the last user, so that the next
// may get others.
func settle(claim *resourcev1.ResourceClaim, left []resourcev1.ResourceClaimConsumerReference, ownerDone bool) change {
	next := claim.DeepCopy()
	c := change{next: next}
	held := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	fewer := len(left) < len(claim.Status.ReservedFor)
	if fewer {
		next.Status.ReservedFor = left
		c.status = true
	}
	if len(left) == 0 && held && (fewer || claim.DeletionTimestamp != nil) {
		c.status = c.status || claim.Status.Allocation != nil
		next.Status.Allocation = nil
		c.release = true
	}
	c.remove = ownerDone && claim.DeletionTimestamp == nil
	return c
}
