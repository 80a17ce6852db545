package disruption

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// root is who decides about the number of a pod's like, and the number.
type root struct {
	uid      types.UID
	replicas int32
}

// controller finds a pod's root; nil if there is none. What the cache does not
// know the API server may.
func (c *Controller) controller(ctx context.Context, namespace string, ref *metav1.OwnerReference) (*root, error) {
	var found *root
	switch {
	case names(ref, "ReplicaSet", "apps", "extensions"):
		set := &appsv1.ReplicaSet{}
		if !c.owner(ctx, namespace, ref, set) {
			break
		}
		up := metav1.GetControllerOfNoCopy(set)
		if up == nil || up.Kind != "Deployment" {
			found = &root{set.UID, count(set.Spec.Replicas)}
			break
		}
		d := &appsv1.Deployment{}
		if names(up, "Deployment", "apps", "extensions") && c.owner(ctx, namespace, up, d) {
			found = &root{d.UID, count(d.Spec.Replicas)}
		}
	case names(ref, "StatefulSet", "apps"):
		if set := (&appsv1.StatefulSet{}); c.owner(ctx, namespace, ref, set) {
			found = &root{set.UID, count(set.Spec.Replicas)}
		}
	}
	if found != nil {
		return found, nil
	}
	return c.scale(ctx, namespace, ref)
}

func names(ref *metav1.OwnerReference, kind string, groups ...string) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && ref.Kind == kind && slices.Contains(groups, gv.Group)
}

// owner reads whom ref means into obj and says whether it is there.
func (c *Controller) owner(ctx context.Context, namespace string, ref *metav1.OwnerReference, obj client.Object) bool {
	err := c.Cache.Get(ctx, loop.Key{Namespace: namespace, Name: ref.Name}, obj, client.UnsafeDisableDeepCopy)
	return err == nil && obj.GetUID() == ref.UID
}

// scale asks a controller of any kind for its scale subresource.
func (c *Controller) scale(ctx context.Context, namespace string, ref *metav1.OwnerReference) (*root, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, err
	}
	kind := gv.WithKind(ref.Kind)
	mapping, err := c.Client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(kind)
	obj.SetNamespace(namespace)
	obj.SetName(ref.Name)
	// Of an object without a type, clients give a scale without one too.
	scale := &unstructured.Unstructured{}
	scale.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	err = c.Client.SubResource("scale").Get(ctx, obj, scale)
	switch {
	case apierrors.IsNotFound(err) && !ofObject(err):
		return nil, fmt.Errorf("%s does not implement the scale subresource", mapping.Resource.GroupResource())
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case scale.GetUID() != ref.UID:
		return nil, nil
	}
	replicas, _, err := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	if err != nil {
		return nil, fmt.Errorf("read the scale of %s %s: %w", ref.Kind, ref.Name, err)
	}
	return &root{ref.UID, int32(replicas)}, nil
}

// ofObject says that err is about an object, and not about a path that is not
// served.
func ofObject(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Name != ""
}
