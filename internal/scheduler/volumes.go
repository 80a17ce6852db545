package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// ask makes a pod ready for the engine: its claims must be bound, and the nodes
// that reach their volumes are added to what it asks for. A problem is why it
// cannot be placed on any node yet.
func (s *Scheduler) ask(ctx context.Context, pod *corev1.Pod) (engine.Ask, string) {
	out := engine.Ask{Pod: pod}
	for _, v := range pod.Spec.Volumes {
		name := claimName(pod, &v)
		if name == "" {
			continue
		}
		reach, problem := s.reach(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: name})
		if problem != "" {
			return out, problem
		}
		out.Volumes = intersect(out.Volumes, reach)
	}
	return out, ""
}

func claimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// reach returns the nodes from which a claim's volume can be used; nil is all.
func (s *Scheduler) reach(ctx context.Context, key types.NamespacedName) (*corev1.NodeSelector, string) {
	if err := s.watchVolumes(ctx); err != nil {
		return nil, fmt.Sprintf("persistentvolumeclaim %q cannot be read: %v", key.Name, err)
	}
	var claim corev1.PersistentVolumeClaim
	if err := s.cache.Get(ctx, key, &claim); apierrors.IsNotFound(err) {
		return nil, fmt.Sprintf("persistentvolumeclaim %q not found", key.Name)
	} else if err != nil {
		return nil, fmt.Sprintf("persistentvolumeclaim %q cannot be read: %v", key.Name, err)
	}
	if claim.DeletionTimestamp != nil {
		return nil, fmt.Sprintf("persistentvolumeclaim %q is being deleted", key.Name)
	}
	if claim.Spec.VolumeName == "" || claim.Status.Phase != corev1.ClaimBound {
		return nil, "pod has unbound immediate PersistentVolumeClaims"
	}
	var volume corev1.PersistentVolume
	if err := s.cache.Get(ctx, types.NamespacedName{Name: claim.Spec.VolumeName}, &volume); err != nil {
		return nil, fmt.Sprintf("persistentvolume %q of claim %q: %v", claim.Spec.VolumeName, key.Name, err)
	}
	if volume.Spec.NodeAffinity == nil {
		return nil, ""
	}
	return volume.Spec.NodeAffinity.Required, ""
}

// watchVolumes starts watching claims and volumes when the first pod names one:
// a cluster without them pays nothing.
func (s *Scheduler) watchVolumes(ctx context.Context) error {
	if s.volumes {
		return nil
	}
	for _, obj := range []client.Object{&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}} {
		informer, err := s.cache.GetInformer(ctx, obj, cache.BlockUntilSynced(true))
		if err != nil {
			return err
		}
		if _, err := informer.AddEventHandler(mailbox.Handler(s.mail)); err != nil {
			return err
		}
	}
	s.volumes = true
	return nil
}

// intersect returns the nodes that both selectors allow. Terms are alternatives,
// so every pair of terms becomes one that asks for both.
func intersect(a, b *corev1.NodeSelector) *corev1.NodeSelector {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	var out corev1.NodeSelector
	for _, s := range a.NodeSelectorTerms {
		for _, t := range b.NodeSelectorTerms {
			var both corev1.NodeSelectorTerm
			both.MatchExpressions = append(append(both.MatchExpressions, s.MatchExpressions...), t.MatchExpressions...)
			both.MatchFields = append(append(both.MatchFields, s.MatchFields...), t.MatchFields...)
			out.NodeSelectorTerms = append(out.NodeSelectorTerms, both)
		}
	}
	return &out
}
