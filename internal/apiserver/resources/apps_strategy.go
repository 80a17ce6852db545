package resources

import appsv1 "k8s.io/api/apps/v1"

func deploymentStrategy() Strategy {
	s := mainStrategy(func(d *appsv1.Deployment) *appsv1.DeploymentStatus { return &d.Status })
	// Annotations count as well: rollout tools record changes in them.
	s.AutoGeneration = false
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
	s := statusStrategy(func(d *appsv1.Deployment) *appsv1.DeploymentSpec { return &d.Spec })
	s.PrepareForUpdate = onUpdate(func(d, old *appsv1.Deployment) {
		d.Spec, d.Labels = old.Spec, old.Labels
	})
	s.ResetFields = [][]string{{"spec"}, {"metadata", "labels"}}
	return s
}

func replicaSetStrategy() Strategy {
	return mainStrategy(func(s *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &s.Status })
}

func replicaSetStatusStrategy() *Strategy {
	return statusStrategy(func(s *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &s.Spec })
}

func statefulSetStrategy() Strategy {
	return mainStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &s.Status })
}

func statefulSetStatusStrategy() *Strategy {
	return statusStrategy(func(s *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &s.Spec })
}

func daemonSetStrategy() Strategy {
	return mainStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &d.Status })
}

func daemonSetStatusStrategy() *Strategy {
	return statusStrategy(func(d *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &d.Spec })
}

func controllerRevisionStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}
