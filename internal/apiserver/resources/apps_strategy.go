package resources

import (
	"context"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

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
	return templated(s, func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template })
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
	template := func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template }
	return named[*appsv1.ReplicaSet](warnedOnChange(templated(rules, template), ofTemplate(template)))
}

func replicaSetStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(s *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &s.Spec }), apps.ReplicaSetStatusUpdate)
}

func statefulSetStrategy() Strategy {
	rules := checked(mainStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &s.Status }), apps.StatefulSet, apps.StatefulSetUpdate)
	rules = templated(rules, func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template })
	rules = warnedOnChange(rules, warnings.StatefulSet)
	onChange := rules.UpdateWarnings
	rules.UpdateWarnings = func(ctx context.Context, obj, old runtime.Object) []string {
		s := obj.(*appsv1.StatefulSet)
		if s.Generation == old.(*appsv1.StatefulSet).Generation {
			return warnings.StatefulSetKeeps(s)
		}
		return onChange(ctx, obj, old)
	}
	return rules
}

func statefulSetStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &s.Spec }), apps.StatefulSetStatusUpdate)
}

func daemonSetStrategy() Strategy {
	rules := checked(mainStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &d.Status }), apps.DaemonSet, apps.DaemonSetUpdate)
	rules.PrepareForCreate = onCreate(func(d *appsv1.DaemonSet) {
		d.Status = appsv1.DaemonSetStatus{}
		setTemplateNumber(d, max(templateNumber(d), 1))
	})
	rules.PrepareForUpdate = onUpdate(func(d, old *appsv1.DaemonSet) {
		d.Status = old.Status
		n := templateNumber(old)
		if !apiequality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
			n++
		}
		setTemplateNumber(d, n)
	})
	template := func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template }
	return warnedOnChange(templated(rules, template), ofTemplate(template))
}

// templateNumber is the number that the server counts a set's templates by. It
// is an annotation since the field for it is gone, and not the client's to set.
func templateNumber(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func setTemplateNumber(d *appsv1.DaemonSet, n int64) {
	annotations := make(map[string]string, len(d.Annotations)+1) // the old ones may be shared
	maps.Copy(annotations, d.Annotations)
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
	d.Annotations = annotations
}

func daemonSetStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &d.Spec }), apps.DaemonSetStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(d, old *appsv1.DaemonSet) {
		d.Spec = old.Spec
		setTemplateNumber(d, templateNumber(old))
	})
	return s
}

func controllerRevisionStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, apps.ControllerRevision, apps.ControllerRevisionUpdate)
}
