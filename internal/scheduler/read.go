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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/batch"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
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
	watchGroups  = string(batch.Groups)
	watchQueues  = string(batch.Queues)
)

func kindsOf(group string) []client.Object {
	switch group {
	case watchDevices:
		return []client.Object{&resourcev1.ResourceClaim{}, &resourcev1.DeviceClass{}, &resourcev1.ResourceSlice{}, &resourcev1.DeviceTaintRule{}}
	case watchGroups:
		return []client.Object{&schedulingv1beta1.PodGroup{}}
	case watchQueues:
		q := &unstructured.Unstructured{}
		q.SetGroupVersionKind(batchv1.QueueKind())
		return []client.Object{q}
	}
	return []client.Object{
		&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &storagev1.StorageClass{},
		&storagev1.CSINode{}, &storagev1.CSIDriver{}, &storagev1.CSIStorageCapacity{}, &storagev1.VolumeAttachment{},
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

// watchBatch watches pod groups and queues once the first pod has one. What
// cannot be watched, for no server offers it yet, is tried again after a while.
func (s *Scheduler) watchBatch(ctx context.Context, now time.Time) {
	needs := s.batch.Needs()
	if len(needs) == 0 || s.watchNext.After(now) {
		return
	}
	s.watchNext = time.Time{}
	for _, kinds := range needs {
		if err := s.watchAlso(ctx, string(kinds)); err != nil {
			s.watchNext = now.Add(watchAgain)
			for _, u := range s.batch.WaitingFor(kinds) {
				s.sayUnit(u, fmt.Sprintf("%s cannot be read: %v", kinds, err))
			}
			continue
		}
		s.batch.Known(kinds)
	}
}

// watchAgain is the pause between attempts to watch what is not served.
const watchAgain = 2 * time.Second

// read takes in what happened, then wakes pods that it may have helped.
func (s *Scheduler) read(letters []mailbox.Change, now time.Time) {
	var what backlog.Cause
	var nodes engine.NodeChange
	for _, l := range letters {
		if obj, ok := l.Object.(*corev1.Node); ok {
			nodes |= s.readNode(obj, l.Deleted)
			continue
		}
		what |= s.readOne(l, now)
	}
	what |= when(nodes != 0, backlog.CauseNode)
	if what&(backlog.CauseStorage|backlog.CauseDevices) != 0 {
		s.checkPreparations(now)
	}
	if asks := s.devices.Renamed(); asks != nil {
		// Whether nodes refuse these pods at all for what they ask for is new.
		s.queue.Renew(asks, now)
		s.batch.Renew(asks)
	}
	if what != 0 {
		s.queue.Wake(what, nodes, s.engine.Feasible, now)
		s.batch.Wake(nodes, s.engine.Feasible)
	}
}

// readNode returns what is new about a node.
func (s *Scheduler) readNode(obj *corev1.Node, deleted bool) engine.NodeChange {
	change := engine.NodeIsNew
	if deleted {
		s.engine.RemoveNode(obj.Name)
	} else {
		change = s.engine.SetNode(obj)
	}
	if change&(engine.NodeIsNew|engine.NodeTaints|engine.NodeLabels) != 0 {
		s.seekAnew(obj.Name)
	}
	return change
}

func (s *Scheduler) readOne(l mailbox.Change, now time.Time) backlog.Cause {
	switch obj := l.Object.(type) {
	case *corev1.Pod:
		return when(s.readMember(obj, l.Deleted, now), backlog.CausePod)
	case outcome:
		if obj.err != nil {
			s.forgetPreparation(obj.pod.UID)
		}
		return when(s.readOutcome(obj), backlog.CausePod)
	case newcomer:
		s.newcomers = append(s.newcomers, obj)
		return 0
	case unstored:
		return when(s.readUnstored(obj.pod), backlog.CausePod)
	case *schedulingv1beta1.PodGroup:
		s.batch.SetGroup(obj, l.Deleted)
		return 0
	case *unstructured.Unstructured:
		return s.readQueue(obj, l.Deleted)
	case prepared:
		return when(s.readPrepared(obj, now), backlog.CausePod)
	case roomIsFree:
		return backlog.CausePod
	case evicted:
		return when(s.readEvicted(obj), backlog.CausePod)
	case *corev1.Namespace:
		s.engine.NamespaceChanged(obj.Name)
		s.batch.NamespaceChanged()
		return backlog.CausePod
	case *policyv1.PodDisruptionBudget:
		s.budgets.set(obj, l.Deleted)
		return 0
	}
	switch {
	case s.storage.Set(l.Object, l.Deleted):
		return backlog.CauseStorage
	case s.devices.Set(l.Object, l.Deleted):
		return backlog.CauseDevices
	}
	s.kin.Set(l.Object, l.Deleted)
	return 0
}

func when(yes bool, c backlog.Cause) backlog.Cause {
	if yes {
		return c
	}
	return 0
}

// readQueue takes in a queue.
func (s *Scheduler) readQueue(obj *unstructured.Unstructured, deleted bool) backlog.Cause {
	if deleted {
		s.batch.RemoveQueue(obj.GetName())
		return backlog.CausePod
	}
	var q batchv1.Queue
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &q); err != nil {
		return 0 // its definition does not let such a one in
	}
	s.batch.SetQueue(&q)
	return backlog.CausePod
}

// readMember takes in a pod, and what that means to its group and queue.
func (s *Scheduler) readMember(pod *corev1.Pod, deleted bool, now time.Time) bool {
	if !s.batch.Has(pod) {
		return s.readPod(pod, deleted, now)
	}
	waits := s.waits(pod, deleted)
	if waits && (s.batch.Member(pod.UID) != nil || s.queue.Of(pod.UID) == nil) {
		w, fresh := s.queue.Hold(pod, now)
		if m := s.batch.Join(pod, w.Sequence); fresh {
			s.batch.Ready(m.Unit)
		}
	}
	changed := s.readPod(pod, deleted, now)
	switch {
	case pod.Spec.NodeName != "" && s.engine.NodeOf(pod.UID) != "":
		s.batch.Join(pod, 0)
		s.settle(pod.UID)
	case !waits:
		s.batch.Leave(pod.UID)
	}
	return changed
}

// settle tells the batch whether a pod has a node now. It is called after
// whatever may have changed that.
func (s *Scheduler) settle(uid types.UID) { s.batch.Settle(uid, s.engine.NodeOf(uid) != "") }

// waits reports whether a pod is to be placed by this scheduler.
func (s *Scheduler) waits(pod *corev1.Pod, deleted bool) bool {
	return !deleted && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && pod.Spec.NodeName == "" &&
		s.profileOf(pod) != nil && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

// readPod reports whether anything changed that other pods' places depend on.
func (s *Scheduler) readPod(pod *corev1.Pod, deleted bool, now time.Time) bool {
	s.unseen.remove(pod.UID)
	ended := deleted || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case ended:
		s.evictionOver(pod.UID)
		s.forgetPreparation(pod.UID)
		freed := s.queue.Remove(pod.UID)
		return s.takeOff(pod.UID) || freed
	case pod.Spec.NodeName != "":
		s.forgetPreparation(pod.UID)
		if w := s.queue.Of(pod.UID); w != nil {
			s.measured.bound(w.Attempts, now.Sub(w.Since))
		}
		freed := s.queue.Remove(pod.UID)
		s.storage.SetPod(pod)
		return s.engine.SetPod(pod, pod.Spec.NodeName) || freed
	case s.profileOf(pod) == nil || pod.DeletionTimestamp != nil:
		if s.profileOf(pod) != nil && len(pod.Spec.SchedulingGates) == 0 {
			s.recorder.Eventf(pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "skip schedule deleting pod: %v/%v", pod.Namespace, pod.Name)
		}
		freed := s.engine.RemoveNomination(pod.UID)
		return s.queue.Remove(pod.UID) || freed
	case len(pod.Spec.SchedulingGates) > 0:
		s.queue.Gate(pod.UID)
		return false
	}
	w := s.queue.Set(pod, now)
	switch {
	case pod.Status.NominatedNodeName != "" && s.engine.NodeOf(pod.UID) == "":
		s.engine.Nominate(pod, pod.Status.NominatedNodeName)
	case w.Nominated == "":
		return s.engine.RemoveNomination(pod.UID)
	}
	return false
}
