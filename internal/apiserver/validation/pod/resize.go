package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// ResizeUpdate checks an update that may change cpu and memory of a pod and
// its containers while they run.
func ResizeUpdate(p, old *corev1.Pod) field.ErrorList {
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	l := check.List{Errors: check.ObjectMetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	l.Add(whole(p)...)
	path := field.NewPath("spec")
	if len(p.Spec.Containers) != len(old.Spec.Containers) || len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		l.Forbidden(path, "containers may not be added or removed on resize")
		return l.Errors
	}
	if qos.ComputePodQOS(old) != qos.ComputePodQOS(p) {
		l.Invalid(path, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !resizable(old) {
		l.Forbidden(path, "Pod running on node without support for resize")
	}
	same := *p.Spec.DeepCopy()
	resizeAll(&l, same.Containers, old.Spec.Containers, path.Child("containers"))
	resizeInitial(&l, same.InitContainers, old.Spec.InitContainers, path.Child("initContainers"))
	if same.Resources != nil && old.Spec.Resources != nil {
		kept(&l, same.Resources, old.Spec.Resources, path.Child("resources"))
		keepCompute(same.Resources, old.Spec.Resources)
	}
	if len(l.Errors) == 0 && !apiequality.Semantic.DeepEqual(same, old.Spec) {
		l.Forbidden(path, "only cpu and memory resources are mutable")
	}
	return l.Errors
}

// resizable tells whether the pod's node reports what containers were given;
// one that does not cannot change it either.
func resizable(p *corev1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

func resizeAll(l *check.List, now, old []corev1.Container, path *field.Path) {
	for i := range now {
		kept(l, &now[i].Resources, &old[i].Resources, path.Index(i).Child("resources"))
		keepCompute(&now[i].Resources, &old[i].Resources)
		// The policy belongs to the resize and may change with it.
		now[i].ResizePolicy = old[i].ResizePolicy
		if !apiequality.Semantic.DeepEqual(now[i], old[i]) {
			l.Forbidden(field.NewPath("spec"), "only cpu and memory resources are mutable")
		}
	}
}

func resizeInitial(l *check.List, now, old []corev1.Container, path *field.Path) {
	for i := range now {
		refused := "resources for non-sidecar init containers are immutable"
		if isSidecar(&old[i]) {
			refused = "only cpu and memory resources for sidecar containers are mutable"
			kept(l, &now[i].Resources, &old[i].Resources, path.Index(i).Child("resources"))
			keepCompute(&now[i].Resources, &old[i].Resources)
			now[i].ResizePolicy = old[i].ResizePolicy
		}
		if !apiequality.Semantic.DeepEqual(now[i], old[i]) {
			l.Forbidden(field.NewPath("spec"), refused)
		}
	}
}

// kept refuses to take a request or a limit away.
func kept(l *check.List, now, old *corev1.ResourceRequirements, path *field.Path) {
	for _, list := range []struct {
		name     string
		now, old corev1.ResourceList
	}{{"requests", now.Requests, old.Requests}, {"limits", now.Limits, old.Limits}} {
		for name := range list.old {
			if _, ok := list.now[name]; !ok {
				l.Forbidden(path.Child(list.name), fmt.Sprintf("resource %s cannot be removed", list.name))
				break
			}
		}
	}
}

// keepCompute sets cpu and memory back, so that all else can be compared.
func keepCompute(now, old *corev1.ResourceRequirements) {
	set := func(list *corev1.ResourceList, old corev1.ResourceList) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := old[name]; ok {
				if *list == nil {
					*list = corev1.ResourceList{}
				}
				(*list)[name] = q
			} else {
				delete(*list, name)
			}
		}
	}
	set(&now.Requests, old.Requests)
	set(&now.Limits, old.Limits)
}
