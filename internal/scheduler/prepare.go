package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/devices"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/storage"
)

// preparation is a pod that has a node, whose volumes or devices are being
// bound there. It counts as placed.
type preparation struct {
	waiting  *backlog.Waiting
	node     string
	work     work
	deadline time.Time
	written  bool // what there was to write is written
	selected map[types.NamespacedName]bool
}

// prepared is what became of the writes of a preparation.
type prepared struct {
	of  *preparation
	err error
}

func (s *Scheduler) prepare(w *backlog.Waiting, node string, work work, deadline time.Time) {
	p := &preparation{waiting: w, node: node, work: work, deadline: deadline, selected: map[types.NamespacedName]bool{}}
	s.storage.Assume(w.Pod, work.volumes)
	s.devices.Assume(w.Pod, work.devices)
	s.preparing[w.Pod.UID] = p
	pod, writes := w.Pod, s.volumeWrites(work.volumes)
	s.errands.give(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		if err := s.expect(ctx, pod, node); err != nil && ctx.Err() == nil {
			slog.Warn("expected node of a pod not written", "pod", client.ObjectKeyFromObject(pod), "node", node, "err", err)
		}
		err := s.write(ctx, pod, writes, work.devices)
		s.mail.Put(mailbox.Change{Object: prepared{p, err}})
	})
}

// expect says in a pod's status where it will be, for whoever adds and removes
// nodes. Its binding takes that away again, so this must be over before.
func (s *Scheduler) expect(ctx context.Context, pod *corev1.Pod, node string) error {
	if pod.Status.NominatedNodeName == node {
		return nil
	}
	changed := pod.DeepCopy()
	changed.Status.NominatedNodeName = node
	return client.IgnoreNotFound(s.client.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod)))
}

// volumeWrites are the objects to be updated for claims to get their volumes.
func (s *Scheduler) volumeWrites(d storage.Decision) []client.Object {
	var out []client.Object
	for _, b := range d.Bind {
		v, claim := s.storage.Volume(b.Volume), s.storage.Claim(b.Claim)
		changed, dirty, err := volume.GetBindVolumeToClaim(v, claim)
		if err == nil && dirty {
			out = append(out, changed)
		}
	}
	for _, key := range d.Provision {
		claim := s.storage.Claim(key)
		if claim.Annotations[volume.AnnSelectedNode] == d.Node {
			continue
		}
		claim = claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnSelectedNode, d.Node)
		out = append(out, claim)
	}
	return out
}

func (s *Scheduler) write(ctx context.Context, pod *corev1.Pod, volumes []client.Object, d devices.Decision) error {
	for _, obj := range volumes {
		if err := s.client.Update(ctx, obj); err != nil {
			return unprepared{engine.RuleVolumeBinding, fmt.Errorf("bind volumes: %w", err)}
		}
	}
	for _, c := range d.Claims {
		write := s.writeClaim
		if c.Uses != nil {
			write = s.makeClaim
		}
		if err := write(ctx, pod, c); err != nil {
			return unprepared{engine.RuleDevices, err}
		}
	}
	return nil
}

// unprepared is why a pod could not be prepared, by the rule that prepares.
type unprepared struct {
	rule engine.Rule
	err  error
}

func (u unprepared) Error() string {
	return fmt.Sprintf("running PreBind plugin %q: %v", u.rule, u.err)
}
func (u unprepared) Unwrap() error { return u.err }

// causeOf is an error without what kube-scheduler calls the part that it comes from.
func causeOf(err error) error {
	var u unprepared
	if errors.As(err, &u) {
		return u.err
	}
	return err
}

// writeClaim gives a claim its devices and reserves it for the pod. The
// finalizer comes first: an allocated claim must not go while it is in use.
func (s *Scheduler) writeClaim(ctx context.Context, pod *corev1.Pod, c devices.Claim) error {
	claim, what := c.Object.DeepCopy(), "reservation"
	if claim.Status.Allocation == nil {
		kept := false
		for _, f := range claim.Finalizers {
			kept = kept || f == resourcev1.Finalizer
		}
		if !kept {
			claim.Finalizers = append(claim.Finalizers, resourcev1.Finalizer)
			if err := s.client.Update(ctx, claim); err != nil {
				return fmt.Errorf("add finalizer to claim %s/%s: %w", claim.Namespace, claim.Name, err)
			}
		}
		what = "allocation and reservation"
		claim.Status.Allocation = c.Allocation.DeepCopy()
		if claim.Status.Allocation.AllocationTimestamp == nil {
			now := metav1.Now()
			claim.Status.Allocation.AllocationTimestamp = &now
		}
	}
	if !resourceclaim.IsReservedForPod(pod, claim, false) {
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{
			Resource: "pods", Name: pod.Name, UID: pod.UID,
		})
	}
	if err := s.client.Status().Update(ctx, claim); err != nil {
		return fmt.Errorf("add %s to claim %s/%s: %w", what, claim.Namespace, claim.Name, err)
	}
	return nil
}

// readPrepared reports whether a place became free again.
func (s *Scheduler) readPrepared(r prepared, now time.Time) bool {
	p := r.of
	if s.preparing[p.waiting.Pod.UID] != p {
		return false // given up, or the pod is gone
	}
	if r.err != nil {
		s.giveUp(p, r.err, now)
		return true
	}
	p.written = true
	s.check(p, now)
	return false
}

// checkPreparations looks which pods have all their volumes now.
func (s *Scheduler) checkPreparations(now time.Time) {
	for _, p := range s.preparing {
		s.check(p, now)
	}
}

func (s *Scheduler) check(p *preparation, now time.Time) {
	if !p.written {
		return
	}
	done, err := s.volumesBound(p)
	if err != nil {
		err = unprepared{engine.RuleVolumeBinding, err}
	} else if done {
		if done, err = s.devicesReady(p); err != nil {
			err = unprepared{engine.RuleDevices, err}
		}
	}
	switch {
	case err != nil:
		s.giveUp(p, err, now)
	case done:
		delete(s.preparing, p.waiting.Pod.UID)
		s.ready = append(s.ready, bind{pod: p.waiting.Pod, node: p.node})
	}
}

// volumesBound reports whether all claims have a volume that the node reaches.
func (s *Scheduler) volumesBound(p *preparation) (bool, error) {
	node := s.engine.Node(p.node)
	if node == nil {
		return false, fmt.Errorf("node %q is gone", p.node)
	}
	done := true
	for _, key := range keysOf(p.work.volumes) {
		claim := s.storage.Claim(key)
		if claim == nil {
			return false, fmt.Errorf("persistentvolumeclaim %q is gone", key.Name)
		}
		if !storage.Bound(claim) {
			done = false
			// Whoever provisions takes the node away when it cannot be there.
			switch claim.Annotations[volume.AnnSelectedNode] {
			case p.node:
				p.selected[key] = true
			default:
				if p.selected[key] {
					return false, fmt.Errorf("persistentvolumeclaim %q cannot be provisioned for node %q", key.Name, p.node)
				}
			}
			continue
		}
		v := s.storage.Volume(claim.Spec.VolumeName)
		if v == nil {
			done = false // its volume comes by another watch
			continue
		}
		if err := volume.CheckNodeAffinity(v, node.Labels); err != nil {
			return false, fmt.Errorf("persistentvolume %q cannot be reached from node %q: %w", v.Name, p.node, err)
		}
	}
	return done, nil
}

// devicesReady reports whether what the claims got is told of, and prepared where it has
// to be before the pod is bound. Once it is bound, devices that are not told of would
// count as free.
func (s *Scheduler) devicesReady(p *preparation) (bool, error) {
	for _, c := range p.work.devices.Claims {
		claim := s.devices.Claim(client.ObjectKeyFromObject(c.Object))
		if c.Uses != nil {
			claim = s.devices.Made(p.waiting.Pod.UID)
		}
		switch {
		case claim == nil && c.Uses != nil:
			return false, nil
		case claim == nil:
			return false, fmt.Errorf("resourceclaim %q is gone", c.Object.Name)
		}
		if ready, err := devices.Ready(claim); err != nil || !ready {
			return false, err
		}
	}
	return true, nil
}

func keysOf(d storage.Decision) []types.NamespacedName {
	out := append([]types.NamespacedName(nil), d.Provision...)
	for _, b := range d.Bind {
		out = append(out, b.Claim)
	}
	return out
}

// giveUp takes a pod off the node it was prepared for, to be tried again.
func (s *Scheduler) giveUp(p *preparation, err error, now time.Time) {
	pod := p.waiting.Pod
	s.forgetPreparation(pod.UID)
	s.takeOff(pod.UID)
	s.unmakeFor(pod)
	s.tryAgain(pod.UID, now)
	if errors.Is(err, context.Canceled) {
		return
	}
	s.sayFailed(p.waiting, err.Error())
	s.noteLost(pod, fmt.Sprintf("preparing it for node %s: %v; it is tried again", p.node, causeOf(err)))
	slog.Warn("pod could not be prepared, trying again", "pod", client.ObjectKeyFromObject(pod), "node", p.node, "err", causeOf(err))
}

// forgetPreparation ends what was assumed for a pod: it is true by now, or never
// will be.
func (s *Scheduler) forgetPreparation(uid types.UID) {
	delete(s.preparing, uid)
	s.storage.Forget(uid)
	s.devices.Forget(uid)
}
