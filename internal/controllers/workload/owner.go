package workload

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownerIndex indexes objects by the uid of their controller; those that have
// none are under orphan.
const (
	ownerIndex = "metadata.controllerUID"
	orphan     = "none"

	nodeIndex = "spec.nodeNameOfPod"
)

// Index tells the cache to index the kinds that workloads own by their owner. It
// is called once for a cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	kinds := []client.Object{&corev1.Pod{}, &appsv1.ReplicaSet{}, &appsv1.ControllerRevision{}, &batchv1.Job{}, &resourcev1.ResourceClaim{}}
	for _, kind := range kinds {
		err := c.IndexField(ctx, kind, ownerIndex, func(obj client.Object) []string { return []string{controller(obj)} })
		if err != nil {
			return fmt.Errorf("index %T by owner: %w", kind, err)
		}
	}
	err := c.IndexField(ctx, &corev1.Pod{}, nodeIndex, func(obj client.Object) []string {
		return []string{obj.(*corev1.Pod).Spec.NodeName}
	})
	if err != nil {
		return fmt.Errorf("index pods by node: %w", err)
	}
	return nil
}

// controller is the uid of the object's controller, or orphan.
func controller(obj client.Object) string {
	if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
		return string(ref.UID)
	}
	return orphan
}

// PodsOn returns the pods bound to a node; those of the empty name are bound to
// none. They are shared with the cache: read-only.
func PodsOn(ctx context.Context, r client.Reader, node string) ([]*corev1.Pod, error) {
	pods, err := shared[*corev1.Pod](ctx, r, &corev1.PodList{}, client.MatchingFields{nodeIndex: node})
	if err != nil {
		return nil, fmt.Errorf("list pods on node %q: %w", node, err)
	}
	return pods, nil
}

// walker is a reader that shows its own objects. A list holds them by value: of the
// ten thousand pods of an owner those are 12 MB, each time that one of them changes.
type walker interface {
	// Walk calls f with every object of the kind of list, which stays empty, that
	// the options select.
	Walk(ctx context.Context, list client.ObjectList, f func(client.Object), opts ...client.ListOption) error
}

// Owned returns the objects in the namespace that the owner with this uid controls,
// of those that list, which is empty, can hold. They are shared with the cache:
// read-only.
func Owned[T client.Object](ctx context.Context, r client.Reader, list client.ObjectList, namespace string, owner types.UID) ([]T, error) {
	return shared[T](ctx, r, list, client.InNamespace(namespace), client.MatchingFields{ownerIndex: string(owner)})
}

// orphans returns the objects in the namespace that nobody controls.
func orphans[T client.Object](ctx context.Context, r client.Reader, list client.ObjectList, namespace string) ([]T, error) {
	return shared[T](ctx, r, list, client.InNamespace(namespace), client.MatchingFields{ownerIndex: orphan})
}

func shared[T client.Object](ctx context.Context, r client.Reader, list client.ObjectList, opts ...client.ListOption) ([]T, error) {
	var out []T
	if w, ok := r.(walker); ok {
		err := w.Walk(ctx, list, func(obj client.Object) { out = append(out, obj.(T)) }, opts...)
		return out, err
	}
	if err := r.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, err
	}
	err := meta.EachListItem(list, func(obj runtime.Object) error {
		out = append(out, obj.(T))
		return nil
	})
	return out, err
}

// OwnerKey is the key of the object's controller if that is of the given kind.
func OwnerKey(obj client.Object, kind schema.GroupVersionKind) []types.NamespacedName {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || ref.Kind != kind.Kind {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != kind.Group {
		return nil
	}
	return []types.NamespacedName{{Namespace: obj.GetNamespace(), Name: ref.Name}}
}

// adopters returns the keys of the owners in list that select an orphan. list is
// filled from the orphan's namespace.
func adopters(ctx context.Context, r client.Reader, list client.ObjectList, orphan client.Object) ([]types.NamespacedName, error) {
	if err := r.List(ctx, list, client.InNamespace(orphan.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list who may adopt %s: %w", orphan.GetName(), err)
	}
	var keys []types.NamespacedName
	have := labels.Set(orphan.GetLabels())
	err := meta.EachListItem(list, func(item runtime.Object) error {
		by, err := selectorOf(item)
		if err != nil {
			return err
		}
		selector, err := metav1.LabelSelectorAsSelector(by)
		if err == nil && !selector.Empty() && selector.Matches(have) {
			keys = append(keys, client.ObjectKeyFromObject(item.(client.Object)))
		}
		return nil
	})
	return keys, err
}

// selectorOf is what an owner selects by.
func selectorOf(owner runtime.Object) (*metav1.LabelSelector, error) {
	switch o := owner.(type) {
	case *appsv1.ReplicaSet:
		return o.Spec.Selector, nil
	case *appsv1.Deployment:
		return o.Spec.Selector, nil
	case *appsv1.StatefulSet:
		return o.Spec.Selector, nil
	case *appsv1.DaemonSet:
		return o.Spec.Selector, nil
	case *batchv1.Job:
		return o.Spec.Selector, nil
	case *corev1.ReplicationController:
		return &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, nil
	default:
		return nil, fmt.Errorf("find out what %T selects: it adopts nothing", owner)
	}
}
