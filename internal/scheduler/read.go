package scheduler

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/mailbox"
)

// watch makes every change of what scheduling looks at a letter in the mailbox,
// and returns when all that exists has been delivered.
func (s *Scheduler) watch(ctx context.Context) error {
	kinds := []client.Object{
		&corev1.Node{}, &corev1.Pod{}, &corev1.Namespace{}, &policyv1.PodDisruptionBudget{},
		&corev1.Service{}, &corev1.ReplicationController{}, &appsv1.ReplicaSet{}, &appsv1.StatefulSet{},
	}
	synced := make([]toolscache.DoneChecker, 0, len(kinds))
	for _, kind := range kinds {
		informer, err := s.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		handler, err := informer.AddEventHandler(mailbox.Handler(s.mail))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		synced = append(synced, handler.HasSyncedChecker())
	}
	if !toolscache.WaitFor(ctx, "", synced...) {
		return ctx.Err()
	}
	return nil
}

// Kinds that are watched once the first pod needs them: a cluster without such
// pods pays nothing.
const (
	watchStorage = "volumes"
	watchDevices = "devices"
	watchGroups  = "pod groups"
	watchQueues  = "queues"
)

func kindsOf(group string) []client.Object {
	switch group {
	case watchDevices:
		return []client.Object{&resourcev1.ResourceClaim{}, &resourcev1.DeviceClass{}, &resourcev1.ResourceSlice{}}
	case watchGroups:
		return []client.Object{&schedulingv1beta1.PodGroup{}}
	case watchQueues:
		q := &unstructured.Unstructured{}
		q.SetGroupVersionKind(batchv1.QueueKind())
		return []client.Object{q}
	}
	return []client.Object{
		&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &storagev1.StorageClass{},
		&storagev1.CSINode{}, &storagev1.CSIDriver{}, &storagev1.CSIStorageCapacity{},
	}
}

// watchAlso watches a group of kinds from now on, and reads what there is.
func (s *Scheduler) watchAlso(ctx context.Context, group string) error {
	if s.watching[group] {
		return nil
	}
	for _, obj := range kindsOf(group) {
		informer, err := s.cache.GetInformer(ctx, obj, cache.BlockUntilSynced(true))
		if err != nil {
			return fmt.Errorf("watch %s: %w", group, err)
		}
		handler, err := informer.AddEventHandler(mailbox.Handler(s.mail))
		if err != nil {
			return fmt.Errorf("watch %s: %w", group, err)
		}
		if !toolscache.WaitFor(ctx, "", handler.HasSyncedChecker()) {
			return ctx.Err()
		}
	}
	s.watching[group] = true
	s.read(s.mail.Take(), time.Now())
	return nil
}

// read takes in what happened, then wakes pods that it may have helped.
func (s *Scheduler) read(letters []mailbox.Change, now time.Time) {
	var what cause
	for _, l := range letters {
		what |= s.readOne(l, now)
	}
	if what&(causeStorage|causeDevices) != 0 {
		s.checkPreparations(now)
	}
	if what != 0 {
		s.queue.wake(what, s.engine.Feasible, now)
		s.batch.wake(s.engine.Feasible)
	}
}

func (s *Scheduler) readOne(l mailbox.Change, now time.Time) cause {
	switch obj := l.Object.(type) {
	case *corev1.Node:
		if l.Deleted {
			s.engine.RemoveNode(obj.Name)
			return causeNode
		}
		return when(s.engine.SetNode(obj), causeNode)
	case *corev1.Pod:
		return when(s.readMember(obj, l.Deleted, now), causePod)
	case outcome:
		if obj.err != nil {
			s.forgetPreparation(obj.pod.UID)
		}
		return when(s.readOutcome(obj), causePod)
	case *schedulingv1beta1.PodGroup:
		s.readGroup(obj, l.Deleted)
		return 0
	case *unstructured.Unstructured:
		return s.readQueue(obj, l.Deleted)
	case prepared:
		return when(s.readPrepared(obj, now), causePod)
	case evicted:
		return when(s.readEvicted(obj), causePod)
	case *corev1.Namespace:
		s.engine.NamespaceChanged(obj.Name)
		return causePod
	case *policyv1.PodDisruptionBudget:
		s.budgets.set(obj, l.Deleted)
		return 0
	}
	switch {
	case s.storage.Set(l.Object, l.Deleted):
		return causeStorage
	case s.devices.Set(l.Object, l.Deleted):
		return causeDevices
	}
	s.spreading.set(l.Object, l.Deleted)
	return 0
}

func when(yes bool, c cause) cause {
	if yes {
		return c
	}
	return 0
}

// readMember takes in a pod, and what that means to its group and queue.
func (s *Scheduler) readMember(pod *corev1.Pod, deleted bool, now time.Time) bool {
	if !isBatch(pod) && s.batch.members[pod.UID] == nil {
		return s.readPod(pod, deleted, now)
	}
	waits := s.waits(pod, deleted)
	if waits && (s.batch.members[pod.UID] != nil || s.queue.pods[pod.UID] == nil) {
		w, fresh := s.queue.hold(pod, now)
		if m := s.join(pod, w.sequence); fresh {
			s.batch.ready(m.unit)
		}
	}
	changed := s.readPod(pod, deleted, now)
	switch {
	case pod.Spec.NodeName != "" && s.engine.NodeOf(pod.UID) != "":
		s.join(pod, 0)
		s.settle(pod.UID)
	case !waits:
		s.leave(pod.UID)
	}
	return changed
}

// waits reports whether a pod is to be placed by this scheduler.
func (s *Scheduler) waits(pod *corev1.Pod, deleted bool) bool {
	return !deleted && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && pod.Spec.NodeName == "" &&
		s.profileOf(pod) != nil && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

// readPod reports whether anything changed that other pods' places depend on.
func (s *Scheduler) readPod(pod *corev1.Pod, deleted bool, now time.Time) bool {
	ended := deleted || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case ended:
		s.evictionOver(pod.UID)
		s.forgetPreparation(pod.UID)
		freed := s.queue.remove(pod.UID)
		s.storage.RemovePod(pod.UID)
		return s.engine.RemovePod(pod.UID) || freed
	case pod.Spec.NodeName != "":
		s.forgetPreparation(pod.UID)
		if w := s.queue.pods[pod.UID]; w != nil {
			s.measured.bound(w, now)
		}
		freed := s.queue.remove(pod.UID)
		s.storage.SetPod(pod)
		return s.engine.SetPod(pod, pod.Spec.NodeName) || freed
	case s.profileOf(pod) == nil || pod.DeletionTimestamp != nil:
		freed := s.engine.RemoveNomination(pod.UID)
		return s.queue.remove(pod.UID) || freed
	case len(pod.Spec.SchedulingGates) > 0:
		s.queue.gate(pod.UID)
		return false
	}
	w := s.queue.set(pod, now)
	switch {
	case pod.Status.NominatedNodeName != "":
		s.engine.Nominate(pod, pod.Status.NominatedNodeName)
	case w.nominated == "":
		return s.engine.RemoveNomination(pod.UID)
	}
	return false
}
