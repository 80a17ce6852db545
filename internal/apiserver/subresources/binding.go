package subresources

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
	serverstorage "github.com/sinawi/sinawi/internal/apiserver/storage"
)

var podResource = schema.GroupResource{Resource: "pods"}

// binding is pods/binding: it puts a pod on a node, once.
type binding struct{ pods *rows.Store }

func (b *binding) New() runtime.Object   { return &corev1.Binding{} }
func (b *binding) Destroy()              {}
func (b *binding) NamespaceScoped() bool { return true }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps uid and
// resourceVersion of the binding: they are preconditions on the pod.
func (b *binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create binds the pod that the path names.
func (b *binding) Create(ctx context.Context, name string, obj runtime.Object, check rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	bound, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != bound.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(bound); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if check != nil {
		if err := check(ctx, bound.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := b.bind(ctx, bound, dryrun.IsDryRun(options.DryRun)); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	} else if b.Target.Kind == "" || b.Target.Kind == "Node" {
		for _, text := range apivalidation.NameIsDNSSubdomain(b.Target.Name, false) {
			errs = append(errs, field.Invalid(target.Child("name"), b.Target.Name, text))
		}
	}
	return errs
}

func (b *binding) bind(ctx context.Context, bound *corev1.Binding, dryRun bool) error {
	key, err := b.pods.KeyFunc(ctx, bound.Name)
	if err != nil {
		return err
	}
	update := storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		return assign(obj.(*corev1.Pod), bound)
	})
	out := &corev1.Pod{}
	if !dryRun { // which reads into it
		serverstorage.Unread(out)
	}
	err = b.pods.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions(bound.UID, bound.ResourceVersion), update, dryRun, nil)
	if err == nil {
		return nil
	}
	err = storeerr.InterpretGetError(err, podResource, bound.Name)
	err = storeerr.InterpretUpdateError(err, podResource, bound.Name)
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		err = apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, bound.Name, err)
	}
	return err
}

func preconditions(uid types.UID, version string) *storage.Preconditions {
	if uid == "" && version == "" {
		return nil
	}
	p := &storage.Preconditions{}
	if uid != "" {
		p.UID = &uid
	}
	if version != "" {
		p.ResourceVersion = &version
	}
	return p
}

// assign puts pod on the node that bound names.
func assign(pod *corev1.Pod, bound *corev1.Binding) (*corev1.Pod, error) {
	switch {
	case pod.DeletionTimestamp != nil:
		return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) != 0:
		return nil, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Annotations = merged(pod.Annotations, bound.Annotations)
	pod.Labels = merged(pod.Labels, bound.Labels)
	Assign(pod, bound.Target.Name)
	return pod, nil
}

// Assign puts a pod on a node.
func Assign(pod *corev1.Pod, node string) {
	pod.Spec.NodeName = node
	pod.Status.NominatedNodeName = ""
	setCondition(&pod.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
}

// merged returns a with the entries of b, which win.
func merged(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = make(map[string]string, len(b))
	}
	maps.Copy(out, b)
	return out
}

// setCondition replaces the condition of the same type. The time is that of
// the last change of its status.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.Now()
	for i := range s.Conditions {
		if old := &s.Conditions[i]; old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			*old = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// bindings is the older way to bind: the pod is named by the object.
type bindings struct{ *binding }

// GetSingularName is what discovery tells.
func (b *bindings) GetSingularName() string { return "binding" }

// Create binds the pod that the object names.
func (b *bindings) Create(ctx context.Context, obj runtime.Object, check rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	bound, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return b.binding.Create(ctx, bound.Name, obj, check, options)
}
