package replicaset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// form is what tells ReplicaSets and the older ReplicationControllers apart. One
// controller serves both: it sees a ReplicaSet either way.
type form struct {
	kind  schema.GroupVersionKind
	empty func() client.Object
	list  func() client.ObjectList
	// view shows the object as a ReplicaSet.
	view func(client.Object) *appsv1.ReplicaSet
	// withStatus returns a copy of the object with that status.
	withStatus func(client.Object, appsv1.ReplicaSetStatus) client.Object
}

func replicaSets() form {
	return form{
		kind:  appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		empty: func() client.Object { return &appsv1.ReplicaSet{} },
		list:  func() client.ObjectList { return &appsv1.ReplicaSetList{} },
		view:  func(obj client.Object) *appsv1.ReplicaSet { return obj.(*appsv1.ReplicaSet) },
		withStatus: func(obj client.Object, status appsv1.ReplicaSetStatus) client.Object {
			set := obj.(*appsv1.ReplicaSet).DeepCopy()
			set.Status = status
			return set
		},
	}
}

func replicationControllers() form {
	return form{
		kind:       corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		empty:      func() client.Object { return &corev1.ReplicationController{} },
		list:       func() client.ObjectList { return &corev1.ReplicationControllerList{} },
		view:       viewOf,
		withStatus: withStatus,
	}
}

func viewOf(obj client.Object) *appsv1.ReplicaSet {
	rc := obj.(*corev1.ReplicationController)
	set := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas: rc.Status.ReadyReplicas, AvailableReplicas: rc.Status.AvailableReplicas,
			ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		set.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return set
}

func withStatus(obj client.Object, status appsv1.ReplicaSetStatus) client.Object {
	rc := obj.(*corev1.ReplicationController).DeepCopy()
	rc.Status = corev1.ReplicationControllerStatus{
		Replicas: status.Replicas, FullyLabeledReplicas: status.FullyLabeledReplicas,
		ReadyReplicas: status.ReadyReplicas, AvailableReplicas: status.AvailableReplicas,
		ObservedGeneration: status.ObservedGeneration,
	}
	for _, c := range status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rc
}
