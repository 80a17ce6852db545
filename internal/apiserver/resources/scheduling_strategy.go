package resources

import (
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/scheduling"
)

// Fields of features that are not there are dropped, as upstream drops them
// while their gates are off: nothing would act on them.

func podGroupStrategy() Strategy {
	s := checked(mainStrategy(func(g *schedulingv1beta1.PodGroup) *schedulingv1beta1.PodGroupStatus { return &g.Status }),
		scheduling.PodGroup, scheduling.PodGroupUpdate)
	drop := func(g *schedulingv1beta1.PodGroup) {
		g.Spec.ParentCompositePodGroupName = nil
		g.Spec.SchedulingConstraints = nil
		g.Spec.ResourceClaims = nil
		g.Spec.PreemptionPolicy = nil
	}
	s.PrepareForCreate = onCreate(func(g *schedulingv1beta1.PodGroup) {
		g.Status = schedulingv1beta1.PodGroupStatus{}
		drop(g)
	})
	s.PrepareForUpdate = onUpdate(func(g, old *schedulingv1beta1.PodGroup) {
		g.Status = old.Status
		drop(g)
	})
	return s
}

func podGroupStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(g *schedulingv1beta1.PodGroup) *schedulingv1beta1.PodGroupSpec { return &g.Spec }),
		scheduling.PodGroupStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(g, old *schedulingv1beta1.PodGroup) {
		g.Spec = old.Spec
		keepMeta(&g.ObjectMeta, &old.ObjectMeta)
		g.Status.ResourceClaimStatuses = nil
	})
	s.ResetFields = [][]string{{"metadata"}, {"spec"}}
	return s
}

func workloadStrategy() Strategy {
	s := checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, scheduling.Workload, scheduling.WorkloadUpdate)
	drop := func(w *schedulingv1beta1.Workload) {
		w.Spec.CompositePodGroupTemplates = nil
		for i := range w.Spec.PodGroupTemplates {
			t := &w.Spec.PodGroupTemplates[i]
			t.SchedulingConstraints, t.ResourceClaims, t.PreemptionPolicy = nil, nil, nil
		}
	}
	s.PrepareForCreate = onCreate(drop)
	s.PrepareForUpdate = onUpdate(func(w, _ *schedulingv1beta1.Workload) { drop(w) })
	return s
}
