package resources

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Apps returns the rows of the group apps.
func Apps() []Resource {
	return []Resource{deployments(), replicaSets(), statefulSets(), daemonSets(), controllerRevisions()}
}

func deployments() Resource {
	r := row[appsv1.Deployment, appsv1.DeploymentList](appsv1.SchemeGroupVersion, "Deployment", "deployments", "deploy")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		column("Ready", "string", "Number of the pod with ready state"),
		docColumn("Up-to-date", "string", appsv1.DeploymentStatus{}, "updatedReplicas"),
		docColumn("Available", "string", appsv1.DeploymentStatus{}, "availableReplicas"),
		ageColumn(),
	}, append(containerColumns(), wide(docColumn("Selector", "string", appsv1.DeploymentSpec{}, "selector"))...)...)
	r.Cells = cells(func(d *appsv1.Deployment) []any {
		names, images := containersAndImages(d.Spec.Template.Spec.Containers)
		return []any{
			d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas, 1)),
			int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), since(d.CreationTimestamp),
			names, images, selectorText(d.Spec.Selector),
		}
	})
	r.Strategy = deploymentStrategy()
	r.Status = deploymentStatusStrategy()
	r.Scale = &Scale{
		Replicas:    func(o runtime.Object) int32 { return deref(o.(*appsv1.Deployment).Spec.Replicas, 1) },
		SetReplicas: func(o runtime.Object, n int32) { o.(*appsv1.Deployment).Spec.Replicas = &n },
		Status:      func(o runtime.Object) int32 { return o.(*appsv1.Deployment).Status.Replicas },
		Selector:    func(o runtime.Object) string { return scaleSelector(o.(*appsv1.Deployment).Spec.Selector) },
	}
	return r
}

func replicaSets() Resource {
	r := row[appsv1.ReplicaSet, appsv1.ReplicaSetList](appsv1.SchemeGroupVersion, "ReplicaSet", "replicasets", "rs")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Desired", "integer", appsv1.ReplicaSetSpec{}, "replicas"),
		docColumn("Current", "integer", appsv1.ReplicaSetStatus{}, "replicas"),
		docColumn("Ready", "integer", appsv1.ReplicaSetStatus{}, "readyReplicas"),
		ageColumn(),
	}, append(containerColumns(), wide(docColumn("Selector", "string", appsv1.ReplicaSetSpec{}, "selector"))...)...)
	r.Cells = cells(func(s *appsv1.ReplicaSet) []any {
		names, images := containersAndImages(s.Spec.Template.Spec.Containers)
		return []any{
			s.Name, int64(deref(s.Spec.Replicas, 1)), int64(s.Status.Replicas), int64(s.Status.ReadyReplicas),
			since(s.CreationTimestamp), names, images, metav1.FormatLabelSelector(s.Spec.Selector),
		}
	})
	r.Strategy = replicaSetStrategy()
	r.Status = replicaSetStatusStrategy()
	r.Scale = &Scale{
		Replicas:    func(o runtime.Object) int32 { return deref(o.(*appsv1.ReplicaSet).Spec.Replicas, 1) },
		SetReplicas: func(o runtime.Object, n int32) { o.(*appsv1.ReplicaSet).Spec.Replicas = &n },
		Status:      func(o runtime.Object) int32 { return o.(*appsv1.ReplicaSet).Status.Replicas },
		Selector:    func(o runtime.Object) string { return scaleSelector(o.(*appsv1.ReplicaSet).Spec.Selector) },
	}
	return r
}

func statefulSets() Resource {
	r := row[appsv1.StatefulSet, appsv1.StatefulSetList](appsv1.SchemeGroupVersion, "StatefulSet", "statefulsets", "sts")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		column("Ready", "string", "Number of the pod with ready state"),
		ageColumn(),
	}, containerColumns()...)
	r.Cells = cells(func(s *appsv1.StatefulSet) []any {
		names, images := containersAndImages(s.Spec.Template.Spec.Containers)
		return []any{
			s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas, 1)),
			since(s.CreationTimestamp), names, images,
		}
	})
	r.Strategy = statefulSetStrategy()
	r.Status = statefulSetStatusStrategy()
	r.Scale = &Scale{
		Replicas:    func(o runtime.Object) int32 { return deref(o.(*appsv1.StatefulSet).Spec.Replicas, 1) },
		SetReplicas: func(o runtime.Object, n int32) { o.(*appsv1.StatefulSet).Spec.Replicas = &n },
		Status:      func(o runtime.Object) int32 { return o.(*appsv1.StatefulSet).Status.Replicas },
		Selector:    func(o runtime.Object) string { return scaleSelector(o.(*appsv1.StatefulSet).Spec.Selector) },
	}
	return r
}

func daemonSets() Resource {
	r := row[appsv1.DaemonSet, appsv1.DaemonSetList](appsv1.SchemeGroupVersion, "DaemonSet", "daemonsets", "ds")
	r.Categories = []string{"all"}
	r.Columns = append([]metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Desired", "integer", appsv1.DaemonSetStatus{}, "desiredNumberScheduled"),
		docColumn("Current", "integer", appsv1.DaemonSetStatus{}, "currentNumberScheduled"),
		docColumn("Ready", "integer", appsv1.DaemonSetStatus{}, "numberReady"),
		docColumn("Up-to-date", "integer", appsv1.DaemonSetStatus{}, "updatedNumberScheduled"),
		docColumn("Available", "integer", appsv1.DaemonSetStatus{}, "numberAvailable"),
		docColumn("Node Selector", "string", corev1.PodSpec{}, "nodeSelector"),
		ageColumn(),
	}, append(containerColumns(), wide(docColumn("Selector", "string", appsv1.DaemonSetSpec{}, "selector"))...)...)
	r.Cells = cells(func(d *appsv1.DaemonSet) []any {
		names, images := containersAndImages(d.Spec.Template.Spec.Containers)
		return []any{
			d.Name, int64(d.Status.DesiredNumberScheduled), int64(d.Status.CurrentNumberScheduled),
			int64(d.Status.NumberReady), int64(d.Status.UpdatedNumberScheduled), int64(d.Status.NumberAvailable),
			labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), since(d.CreationTimestamp),
			names, images, metav1.FormatLabelSelector(d.Spec.Selector),
		}
	})
	r.Strategy = daemonSetStrategy()
	r.Status = daemonSetStatusStrategy()
	return r
}

func controllerRevisions() Resource {
	r := row[appsv1.ControllerRevision, appsv1.ControllerRevisionList](appsv1.SchemeGroupVersion, "ControllerRevision", "controllerrevisions")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Controller", "string", "Controller of the object"),
		docColumn("Revision", "string", appsv1.ControllerRevision{}, "revision"),
		ageColumn(),
	}
	r.Cells = cells(func(c *appsv1.ControllerRevision) []any {
		return []any{c.Name, controllerName(c), c.Revision, since(c.CreationTimestamp)}
	})
	r.Strategy = controllerRevisionStrategy()
	return r
}

// controllerName renders the controlling owner as kind.group/name.
func controllerName(obj metav1.Object) string {
	ref := metav1.GetControllerOf(obj)
	if ref == nil {
		return "<none>"
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return ref.Name
	}
	return strings.ToLower(gv.WithKind(ref.Kind).GroupKind().String()) + "/" + ref.Name
}

func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "<invalid>"
	}
	return selector.String()
}

// scaleSelector is the selector as the scale subresource shows it; objects
// were validated when written, so an invalid one shows nothing.
func scaleSelector(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}
