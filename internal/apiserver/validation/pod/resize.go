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
	if qos.ComputePodQOS(old) != qos.ComputePodQOS(p) {
		l.Invalid(path, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !resizable(old) {
		l.Forbidden(path, "Pod running on node without support for resize")
	}
	same := *p.Spec.DeepCopy()
	resizePod(&l, &same, &old.Spec, path)
	if !sameOrder(&l, &p.Spec, &old.Spec, path) {
		return l.Errors
	}
	resizeAll(&l, same.Containers, old.Spec.Containers, path)
	resizeInitial(&l, same.InitContainers, old.Spec.InitContainers, path.Child("initContainers"))
	if !apiequality.Semantic.DeepEqual(p.Spec.Volumes, old.Spec.Volumes) {
		l.Forbidden(path.Child("volumes"), "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled")
	}
	if len(l.Errors) == 0 && !apiequality.Semantic.DeepEqual(same, old.Spec) {
		l.Forbidden(path, "only cpu and memory resources are mutable")
	}
	return l.Errors
}

// sameOrder refuses containers that come, go or move; it tells whether all are
// where they were.
func sameOrder(l *check.List, now, old *corev1.PodSpec, path *field.Path) bool {
	before := len(l.Errors)
	for _, list := range []struct {
		name     string
		now, old []corev1.Container
	}{{"containers", now.Containers, old.Containers}, {"initContainers", now.InitContainers, old.InitContainers}} {
		if len(list.now) != len(list.old) {
			l.Forbidden(path.Child(list.name), list.name+" may not be added or removed on resize")
			continue
		}
		for i := range list.old {
			if list.now[i].Name != list.old[i].Name {
				l.Forbidden(path.Child(list.name).Index(i).Child("name"), list.name+" may not be renamed or reordered on resize")
			}
		}
	}
	return len(l.Errors) == before
}

// resizePod checks the resources of the pod as a whole, and sets those of now
// that may change back to old's.
func resizePod(l *check.List, now, old *corev1.PodSpec, path *field.Path) {
	given := func(r *corev1.ResourceRequirements) bool { return r != nil && len(r.Requests)+len(r.Limits) > 0 }
	if !given(now.Resources) && !given(old.Resources) {
		return
	}
	at := path.Child("resources")
	if old.Resources != nil && now.Resources == nil {
		l.Forbidden(at, "pod-level resources cannot be removed")
		return
	}
	var before corev1.ResourceRequirements
	if old.Resources != nil {
		before = *old.Resources
		kept(l, now.Resources, old.Resources, "pod-level resource", at)
	}
	keepCompute(now.Resources, &before)
	if r := now.Resources; old.Resources == nil && len(r.Requests)+len(r.Limits)+len(r.Claims) == 0 {
		now.Resources = nil
	}
	if !apiequality.Semantic.DeepEqual(now.Resources, old.Resources) {
		l.Forbidden(path, "only cpu and memory resources are mutable at pod-level")
	}
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
		kept(l, &now[i].Resources, &old[i].Resources, "resource", path.Child("containers").Index(i).Child("resources"))
		keepCompute(&now[i].Resources, &old[i].Resources)
		if !apiequality.Semantic.DeepEqual(now[i], old[i]) {
			l.Forbidden(path, "only cpu and memory resources are mutable")
		}
	}
}

func resizeInitial(l *check.List, now, old []corev1.Container, path *field.Path) {
	for i := range now {
		changed := !apiequality.Semantic.DeepEqual(now[i], old[i])
		kept(l, &now[i].Resources, &old[i].Resources, "resource", path.Index(i).Child("resources"))
		keepCompute(&now[i].Resources, &old[i].Resources)
		if !apiequality.Semantic.DeepEqual(now[i], old[i]) {
			l.Forbidden(path.Index(i), "only cpu and memory resources for init or sidecar containers are mutable")
		}
		if !changed || isSidecar(&now[i]) {
			continue
		}
		for _, p := range now[i].ResizePolicy {
			if p.RestartPolicy == corev1.RestartContainer {
				l.Forbidden(path.Index(i), "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
			}
		}
	}
}

// kept refuses to take a request or a limit away; what names whose they are.
func kept(l *check.List, now, old *corev1.ResourceRequirements, what string, path *field.Path) {
	for _, list := range []struct {
		name     string
		now, old corev1.ResourceList
	}{{"requests", now.Requests, old.Requests}, {"limits", now.Limits, old.Limits}} {
		for name := range list.old {
			if _, ok := list.now[name]; !ok {
				l.Forbidden(path.Child(list.name), fmt.Sprintf("%s %s cannot be removed", what, list.name))
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
