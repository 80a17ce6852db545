// Package podpriority turns the name of a priority class into the number that
// the scheduler sorts by, once, when a pod is created. It also sees to it that
// at most one class is the default.
package podpriority

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source lookup.Source
}

// New returns the plugin.
func New(source lookup.Source) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete), source: source}
}

func classes() schema.GroupResource {
	return schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != lookup.Core("pods") {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil
	}
	if old, ok := a.GetOldObject().(*corev1.Pod); ok && a.GetOperation() == admission.Update {
		keep(pod, old)
		return nil
	}
	if a.GetOperation() != admission.Create {
		return nil
	}
	class, err := p.class(ctx, pod.Spec.PriorityClassName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
	}
	if err != nil {
		return fmt.Errorf("look up priority class %q: %w", pod.Spec.PriorityClassName, err)
	}
	if err := assign(pod, class); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// stays refuses to delete the classes that the parts of a cluster run with.
func stays(a admission.Attributes) error {
	if n := a.GetName(); n == "system-cluster-critical" || n == "system-node-critical" {
		return admission.NewForbidden(a, errors.New("this is a system priority class and cannot be deleted"))
	}
	return nil
}

// keep carries over what a client that does not know the fields left out.
func keep(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

// class returns the class of that name; the default one when there is no name,
// and an empty one when there is no default.
func (p *Plugin) class(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		return lookup.Get[*schedulingv1.PriorityClass](ctx, p.source, classes(), "", name)
	}
	list, err := lookup.ListFew[*schedulingv1.PriorityClass](ctx, p.source, classes(), "")
	if err != nil {
		return nil, err
	}
	found := &schedulingv1.PriorityClass{}
	for _, c := range list {
		// Two defaults can only come from a race; the lower one does less harm.
		if c.GlobalDefault && (found.Name == "" || c.Value < found.Value) {
			found = c
		}
	}
	return found, nil
}

// assign fills in what the class says. The fields are the server's to fill:
// what a client wrote there must agree.
func assign(pod *corev1.Pod, class *schedulingv1.PriorityClass) error {
	policy := corev1.PreemptLowerPriority
	if class.PreemptionPolicy != nil {
		policy = *class.PreemptionPolicy
	}
	if have := pod.Spec.Priority; have != nil && *have != class.Value {
		return fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *have, class.Value)
	}
	if have := pod.Spec.PreemptionPolicy; have != nil && *have != policy {
		return fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *have, policy)
	}
	value := class.Value
	pod.Spec.PriorityClassName, pod.Spec.Priority, pod.Spec.PreemptionPolicy = class.Name, &value, &policy
	return nil
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetOperation() == admission.Delete && a.GetResource().GroupResource() == classes() {
		return stays(a)
	}
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != classes() {
		return nil
	}
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok {
		return errors.New("resource was marked with kind PriorityClass but was unable to be converted")
	}
	if !class.GlobalDefault {
		return nil
	}
	current, err := p.class(ctx, "")
	if err != nil {
		return fmt.Errorf("look up default priority class: %w", err)
	}
	if current.Name != "" && (a.GetOperation() == admission.Create || current.Name != class.Name) {
		return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", current.Name))
	}
	return nil
}
