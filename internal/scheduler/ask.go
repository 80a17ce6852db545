package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/devices"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
	"github.com/sinawi/sinawi/internal/scheduler/storage"
)

// plans are what a pod's volumes and devices need; nil where it has none.
type plans struct {
	volumes *storage.Plan
	devices *devices.Plan
	failed  engine.Rule // the rule that found a problem before any node was asked
	missing bool        // the problem is that there is nothing to decide about yet
}

// work is what has to be written before a pod is bound.
type work struct {
	volumes storage.Decision
	devices devices.Decision
}

func (w work) empty() bool { return w.volumes.Empty() && len(w.devices.Claims) == 0 }

// ask makes a pod ready for the engine. A problem is why it cannot be placed on
// any node yet.
func (s *Scheduler) ask(ctx context.Context, pod *corev1.Pod, profile *config.Profile) (engine.Ask, plans, string) {
	out := engine.Ask{Pod: pod, Profile: profile.Profile}
	var p plans
	if len(pod.Spec.TopologySpreadConstraints) == 0 && len(profile.DefaultSpread) > 0 {
		out.Spread = s.kin.Of(pod)
	}
	if !profile.Off[engine.RuleNodeAffinity] && demand.NamesNoNode(pod) {
		p.failed = engine.RuleNodeAffinity
		return out, p, demand.NamesConflict
	}
	if len(pod.Spec.Volumes) > 0 {
		if len(storage.Claims(pod)) > 0 {
			if err := s.watchAlso(ctx, watchStorage); err != nil {
				return out, p, fmt.Sprintf("volumes cannot be read: %v", err)
			}
		}
		plan, problem := s.storage.Plan(pod, profile.Profile)
		if problem != "" {
			p.failed = engine.RuleVolumeBinding
			return out, p, problem
		}
		if plan != nil {
			p.volumes = plan
			out.Extras = append(out.Extras, plan)
		}
	}
	if devices.Asks(pod) && !profile.Off[engine.RuleDevices] {
		if err := s.watchAlso(ctx, watchDevices); err != nil {
			return out, p, fmt.Sprintf("devices cannot be read: %v", err)
		}
		plan, problem := s.devices.Plan(pod)
		if problem != "" {
			p.failed, p.missing = engine.RuleDevices, s.devices.Missing(pod) != ""
			return out, p, problem
		}
		if plan != nil {
			p.devices = plan
			out.Extras, out.Delegated = append(out.Extras, plan), plan.Delegated()
		}
	}
	return out, p, ""
}

// decide is what has to be written for a pod that goes to a node.
func (p plans) decide(node *corev1.Node) (work, error) {
	var out work
	if p.volumes != nil {
		out.volumes = p.volumes.Decide(node)
	}
	if p.devices != nil {
		d, err := p.devices.Decide(node)
		if err != nil {
			return out, err
		}
		out.devices = d
	}
	return out, nil
}
