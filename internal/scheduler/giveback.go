package scheduler

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// giveBack frees the devices of a claim that keep its pod from nodes and that nobody
// uses, so that the claim may get others there. It says so, or nothing when there is
// none.
func (s *Scheduler) giveBack(p plans, ask engine.Ask) string {
	if p.devices == nil {
		return ""
	}
	if left := p.devices.Leftover(); left != nil {
		s.unmake(left)
		return " deletion of ResourceClaim completed"
	}
	var nodes []*corev1.Node
	for _, name := range s.engine.RefusedBy(ask, engine.RuleDevices) {
		nodes = append(nodes, s.engine.Node(name))
	}
	claim := p.devices.Idle(nodes)
	if claim == nil {
		return ""
	}
	changed := claim.DeepCopy()
	changed.Status.ReservedFor, changed.Status.Allocation, changed.Status.Devices = nil, nil, nil
	s.errands.give(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		// One that was changed meanwhile brings the pod back by itself.
		err := s.client.Status().Update(ctx, changed)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
			slog.Warn("idle devices not given back", "claim", client.ObjectKeyFromObject(claim), "err", err)
		}
	})
	return " deallocation of ResourceClaim completed"
}
