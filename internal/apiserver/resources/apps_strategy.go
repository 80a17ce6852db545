package resources

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/apps"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func deploymentStrategy() Strategy {
	s := checked(mainStrategy(func(d *appsv1.Deployment) *appsv1.DeploymentStatus { return &d.Status }), apps.Deployment, apps.DeploymentUpdate)
	// Annotations count as well: rollout tools record changes in them.
	s.AutoGeneration = false
	s = named[*appsv1.Deployment](warnedOnChange(s, ofTemplate(func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template })))
	s.PrepareForCreate = onCreate(func(d *appsv1.Deployment) {
		d.Status, d.Generation = appsv1.DeploymentStatus{}, 1
	})
	s.PrepareForUpdate = onUpdate(func(d, old *appsv1.Deployment) {
		d.Status = old.Status
		bumpGeneration(d, old, []any{d.Spec, d.Annotations}, []any{old.Spec, old.Annotations})
	})
	return s
}

func deploymentStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(d *appsv1.Deployment) *appsv1.DeploymentSpec { return &d.Spec }), apps.DeploymentStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(d, old *appsv1.Deployment) {
		d.Spec, d.Labels = old.Spec, old.Labels
	})
	s.ResetFields = [][]string{{"spec"}, {"metadata", "labels"}}
	return s
}

func replicaSetStrategy() Strategy {
	rules := checked(mainStrategy(func(s *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &s.Status }), apps.ReplicaSet, apps.ReplicaSetUpdate)
	return named[*appsv1.ReplicaSet](warnedOnChange(rules, ofTemplate(func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template })))
}

func replicaSetStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(s *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &s.Spec }), apps.ReplicaSetStatusUpdate)
}

func statefulSetStrategy() Strategy {
	rules := checked(mainStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &s.Status }), apps.StatefulSet, apps.StatefulSetUpdate)
	return warnedOnChange(rules, warnings.StatefulSet)
}

func statefulSetStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &s.Spec }), apps.StatefulSetStatusUpdate)
}

func daemonSetStrategy() Strategy {
	rules := checked(mainStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &d.Status }), apps.DaemonSet, apps.DaemonSetUpdate)
	return warnedOnChange(rules, ofTemplate(func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template }))
}

func daemonSetStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &d.Spec }), apps.DaemonSetStatusUpdate)
}

func controllerRevisionStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, apps.ControllerRevision, apps.ControllerRevisionUpdate)
}
