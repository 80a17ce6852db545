package noderestriction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	kubeletapis "k8s.io/kubelet/pkg/apis"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// mirror checks a pod that a node creates: it may only show a static pod, of
// itself, that reaches no other object.
func (p *Plugin) mirror(ctx context.Context, node string, a admission.Attributes) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return unexpected(a.GetObject())
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node)
	}
	switch len(pod.OwnerReferences) {
	case 0:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	case 1:
	default:
		return fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node)
	}
	if err := p.owner(ctx, node, &pod.OwnerReferences[0]); err != nil {
		return err
	}
	if what := reaches(pod); what != "" {
		return fmt.Errorf("node %q can not create pods that reference %s", node, what)
	}
	return nil
}

func (p *Plugin) owner(ctx context.Context, node string, owner *metav1.OwnerReference) error {
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return fmt.Errorf("node %q can only create pods with an owner reference set to itself", node)
	case owner.Controller == nil || !*owner.Controller:
		return fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	have, err := lookup.Get[*corev1.Node](ctx, p.source, lookup.Core("nodes"), "", node)
	if apierrors.IsNotFound(err) {
		return err
	}
	if err != nil {
		return fmt.Errorf("error looking up node %s to verify uid: %w", node, err)
	}
	if owner.UID != have.UID {
		return fmt.Errorf("node %s UID mismatch: expected %s got %s", node, owner.UID, have.UID)
	}
	return nil
}

// reaches says which other objects a pod refers to.
func reaches(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "a service account"
	}
	if len(pod.Spec.ImagePullSecrets) > 0 {
		return "secrets"
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, e := range list[i].EnvFrom {
				switch {
				case e.SecretRef != nil:
					return "secrets"
				case e.ConfigMapRef != nil:
					return "configmaps"
				}
			}
			for _, e := range list[i].Env {
				switch {
				case e.ValueFrom == nil:
				case e.ValueFrom.SecretKeyRef != nil:
					return "secrets"
				case e.ValueFrom.ConfigMapKeyRef != nil:
					return "configmaps"
				}
			}
		}
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return "resourceclaims"
	}
	for i := range pod.Spec.Volumes {
		if what := volumeReaches(&pod.Spec.Volumes[i]); what != "" {
			return what
		}
	}
	return ""
}

func volumeReaches(v *corev1.Volume) string {
	switch {
	case v.Secret != nil,
		v.CSI != nil && v.CSI.NodePublishSecretRef != nil,
		v.AzureFile != nil,
		v.CephFS != nil && v.CephFS.SecretRef != nil,
		v.Cinder != nil && v.Cinder.SecretRef != nil,
		v.FlexVolume != nil && v.FlexVolume.SecretRef != nil,
		v.RBD != nil && v.RBD.SecretRef != nil,
		v.ScaleIO != nil && v.ScaleIO.SecretRef != nil,
		v.ISCSI != nil && v.ISCSI.SecretRef != nil,
		v.StorageOS != nil && v.StorageOS.SecretRef != nil:
		return "secrets"
	case v.ConfigMap != nil:
		return "configmaps"
	case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
		return "persistentvolumeclaims"
	case v.Projected == nil:
		return ""
	}
	for _, s := range v.Projected.Sources {
		switch {
		case s.Secret != nil:
			return "secrets"
		case s.ConfigMap != nil:
			return "configmaps"
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles"
		case s.PodCertificate != nil:
			return "pod certificates"
		}
	}
	return ""
}

func podStatus(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Update {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	old, ok := a.GetOldObject().(*corev1.Pod)
	pod, isPod := a.GetObject().(*corev1.Pod)
	switch {
	case !ok:
		return unexpected(a.GetOldObject())
	case old.Spec.NodeName != node:
		return fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !isPod:
		return unexpected(a.GetObject())
	case !labels.Equals(old.Labels, pod.Labels):
		return fmt.Errorf("node %q cannot update labels through pod status", node)
	case !apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return fmt.Errorf("node %q cannot update resource claim statuses", node)
	case !apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus):
		return fmt.Errorf("node %q cannot update extended resource claim status", node)
	}
	return nil
}

func claimStatus(node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Update {
		return fmt.Errorf("unexpected operation %q", a.GetOperation())
	}
	var pair [2]*corev1.PersistentVolumeClaim
	for i, obj := range []any{a.GetOldObject(), a.GetObject()} {
		pvc, ok := obj.(*corev1.PersistentVolumeClaim)
		if !ok {
			return unexpected(obj)
		}
		pvc = pvc.DeepCopy()
		pvc.ResourceVersion, pvc.ManagedFields = "", nil
		pvc.Status.Capacity, pvc.Status.Conditions = nil, nil
		pvc.Status.AllocatedResources, pvc.Status.AllocatedResourceStatuses = nil, nil
		pair[i] = pvc
	}
	if !apiequality.Semantic.DeepEqual(pair[0], pair[1]) {
		return fmt.Errorf("node %q is not allowed to update fields other than status.capacity and status.conditions: %v", node, cmp.Diff(pair[0], pair[1]))
	}
	return nil
}

// ownNode keeps a node from touching others, and from steering pods to itself
// by labels or taints that administrators trust.
func ownNode(node string, a admission.Attributes) error {
	if name := requestName(a); name != node {
		return fmt.Errorf("node %q is not allowed to modify node %q", node, name)
	}
	if a.GetOperation() == admission.Delete {
		return nil
	}
	obj, ok := a.GetObject().(*corev1.Node)
	if !ok {
		return unexpected(a.GetObject())
	}
	if a.GetOperation() == admission.Create {
		if bad := forbidden(obj.Labels, nil); len(bad) > 0 {
			return fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(bad, ", "))
		}
		return nil
	}
	old, ok := a.GetOldObject().(*corev1.Node)
	if !ok {
		return unexpected(a.GetOldObject())
	}
	if !apiequality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
		return fmt.Errorf("node %q is not allowed to modify taints", node)
	}
	if !apiequality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
		return fmt.Errorf("node %q is not allowed to modify ownerReferences", node)
	}
	if bad := forbidden(obj.Labels, old.Labels); len(bad) > 0 {
		return errors.New("is not allowed to modify labels: " + strings.Join(bad, ", "))
	}
	return nil
}

// forbidden returns the labels that differ and that no node may write.
func forbidden(now, before map[string]string) []string {
	var bad []string
	check := func(key string) {
		domain, _, found := strings.Cut(key, "/")
		if !found {
			return
		}
		restricted := within(domain, corev1.LabelNamespaceNodeRestriction)
		foreign := (within(domain, "kubernetes.io") || within(domain, "k8s.io")) && !kubeletapis.IsKubeletLabel(key)
		if restricted || foreign {
			bad = append(bad, key)
		}
	}
	for k, v := range now {
		if old, ok := before[k]; !ok || old != v {
			check(k)
		}
	}
	for k := range before {
		if _, ok := now[k]; !ok {
			check(k)
		}
	}
	slices.Sort(bad)
	return bad
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}
