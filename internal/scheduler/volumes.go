package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
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
		if reach != nil {
			out.Extras = append(out.Extras, within{reach})
		}
	}
	return out, ""
}

// within is where a volume is reachable.
type within struct{ *nodeaffinity.NodeSelector }

func (w within) Refuse(n engine.NodeView) []engine.Refusal {
	if w.Match(n.Object()) {
		return nil
	}
	return []engine.Refusal{{Rule: engine.RuleVolumeBinding, Reason: "node(s) didn't match PersistentVolume's node affinity", Final: true}}
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
func (s *Scheduler) reach(ctx context.Context, key types.NamespacedName) (*nodeaffinity.NodeSelector, string) {
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
	reach, err := nodeaffinity.NewNodeSelector(volume.Spec.NodeAffinity.Required)
	if err != nil {
		return nil, err.Error()
	}
	return reach, ""
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
