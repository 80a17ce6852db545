package subresources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/client-go/util/retry"
	pdbhelper "k8s.io/component-helpers/apps/poddisruptionbudget"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// maxDisrupted bounds the evictions that a budget's controller has not yet seen.
const maxDisrupted = 2000

// evictionRetry is for writes that meet another writer.
func evictionRetry() wait.Backoff {
	return wait.Backoff{Steps: 20, Duration: 500 * time.Millisecond, Factor: 1, Jitter: 0.1}
}

func addEviction(add func(schema.GroupVersion, string, rest.Storage), h *plug.Host, pods *rows.Served) error {
	budgets := h.Served[schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudgets"}]
	if budgets == nil {
		return fmt.Errorf("subresources: poddisruptionbudgets are not served")
	}
	add(corev1.SchemeGroupVersion, "pods/eviction", &eviction{pods: pods, budgets: budgets})
	return nil
}

// eviction is pods/eviction: a deletion that a disruption budget may refuse.
type eviction struct{ pods, budgets *rows.Served }

func (e *eviction) New() runtime.Object { return &policyv1.Eviction{} }
func (e *eviction) Destroy()            {}

// GroupVersionKind says that the object sent is of another group than pods.
func (e *eviction) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// AcceptsGroupVersion takes evictions as clients send them.
func (e *eviction) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == schema.GroupVersion{Group: policyv1.GroupName, Version: "v1beta1"}
}

// Create evicts the pod that the path names.
func (e *eviction) Create(ctx context.Context, name string, obj runtime.Object, check rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != asked.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if d := asked.DeleteOptions; d != nil && d.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *d.IgnoreStoreReadErrorWithClusterBreakingPotential {
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true,
				"can not be set for pod eviction, try after removing the option")})
	}
	deletion, err := deletionOptions(asked, options)
	if err != nil {
		return nil, err
	}
	if check != nil {
		if err := check(ctx, asked.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	pod, deleted, err := e.deleteUnguarded(ctx, name, deletion)
	if err != nil {
		return nil, err
	}
	if !deleted {
		refusal, err := e.deleteGuarded(ctx, pod, deletion)
		if refusal != nil || err != nil {
			return refusal, err
		}
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// deletionOptions are those of the object with the dry run of the request.
func deletionOptions(asked *policyv1.Eviction, options *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	switch d := asked.DeleteOptions; {
	case d == nil:
		return &metav1.DeleteOptions{DryRun: options.DryRun}, nil
	case len(d.DryRun) == 0:
		d.DryRun = options.DryRun
		return d, nil
	case len(options.DryRun) == 0 || slices.Equal(options.DryRun, d.DryRun):
		return d, nil
	default:
		//lint:ignore ST1005 upstream's wording
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, d.DryRun)
	}
}

func pinned(o *metav1.DeleteOptions) bool {
	return o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
}

func pin(o *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &version
	return o
}

// deleteUnguarded deletes a pod that counts for no budget: one that has ended,
// has not begun or is being deleted already.
func (e *eviction) deleteUnguarded(ctx context.Context, name string, options *metav1.DeleteOptions) (pod *corev1.Pod, deleted bool, err error) {
	retriable := func(err error) bool { return apierrors.IsConflict(err) && !pinned(options) }
	err = retry.OnError(evictionRetry(), retriable, func() error {
		obj, err := e.pods.Store.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		pod = obj.(*corev1.Pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || !pod.DeletionTimestamp.IsZero()
		if !ended && pod.Status.Phase != corev1.PodPending {
			return nil
		}
		deletion := options
		if !ended && !pinned(options) {
			deletion = pin(options, pod.ResourceVersion) // it may become ready meanwhile
		}
		if err := e.deletePod(ctx, name, deletion); err != nil {
			return err
		}
		deleted = true
		return nil
	})
	return pod, deleted, err
}

// deleteGuarded deletes a pod if its budget allows it.
func (e *eviction) deleteGuarded(ctx context.Context, pod *corev1.Pod, options *metav1.DeleteOptions) (runtime.Object, error) {
	budgets, err := e.budgetsOf(ctx, pod)
	if err != nil {
		return nil, err
	}
	if len(budgets) > 1 {
		return &metav1.Status{
			Status:  metav1.StatusFailure,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
			Code:    500,
		}, nil
	}
	deletion, free := options, false
	budget := ""
	if len(budgets) == 1 {
		budget = budgets[0].Name
		if free = outsideBudget(pod, budgets[0]); free {
			deletion = pin(options, pod.ResourceVersion) // it must not become ready meanwhile
		} else if err := e.spend(ctx, budgets[0], pod.Name, dryrun.IsDryRun(options.DryRun)); err != nil {
			return nil, err
		}
	}
	err = e.deletePod(ctx, pod.Name, deletion)
	if err != nil && apierrors.IsConflict(err) && free && !pinned(options) {
		return nil, tooManyRequests(budget)
	}
	return nil, err
}

// outsideBudget tells whether a pod may go without using up its budget: it is
// not healthy, and the budget says that such pods do not matter now.
func outsideBudget(pod *corev1.Pod, b *policyv1.PodDisruptionBudget) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

func (e *eviction) budgetsOf(ctx context.Context, pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	obj, err := e.budgets.Store.List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []*policyv1.PodDisruptionBudget
	items := obj.(*policyv1.PodDisruptionBudgetList).Items
	for i := range items {
		selector, err := metav1.LabelSelectorAsSelector(items[i].Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		out = append(out, &items[i])
	}
	return out, nil
}

// spend takes one disruption from a budget, or says why there is none.
func (e *eviction) spend(ctx context.Context, budget *policyv1.PodDisruptionBudget, pod string, dryRun bool) error {
	name := budget.Name
	err := retry.RetryOnConflict(evictionRetry(), func() error {
		if budget == nil {
			obj, err := e.budgets.Store.Get(ctx, name, &metav1.GetOptions{})
			if err != nil {
				return err
			}
			budget = obj.(*policyv1.PodDisruptionBudget)
		}
		spent, err := spent(budget, pod)
		budget = nil
		if err != nil || dryRun {
			return err
		}
		_, _, err = e.budgets.Status.Update(ctx, name, rest.DefaultUpdatedObjectInfo(spent),
			rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		return err
	})
	if wait.Interrupted(err) {
		return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", name), 10)
	}
	return err
}

// spent returns budget with one disruption less, for pod.
func spent(budget *policyv1.PodDisruptionBudget, pod string) (*policyv1.PodDisruptionBudget, error) {
	s := &budget.Status
	switch {
	case s.ObservedGeneration < budget.Generation:
		return nil, tooManyRequests(budget.Name)
	case s.DisruptionsAllowed < 0:
		return nil, forbidden(budget.Name, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxDisrupted:
		return nil, forbidden(budget.Name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return nil, refused(0, whyNone(budget))
	}
	budget = budget.DeepCopy()
	budget.Status.DisruptionsAllowed--
	if budget.Status.DisruptionsAllowed == 0 {
		pdbhelper.UpdateDisruptionAllowedCondition(budget)
	}
	if budget.Status.DisruptedPods == nil {
		budget.Status.DisruptedPods = map[string]metav1.Time{}
	}
	budget.Status.DisruptedPods[pod] = metav1.Now()
	return budget, nil
}

// forbidden refuses for what no waiting helps against.
func forbidden(budget, why, cause string) error {
	err := apierrors.NewForbidden(schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}, budget, errors.New(why))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    policyv1.DisruptionBudgetCause,
		Message: fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", budget, cause),
	})
	return err
}

// whyNone says why a budget allows no disruption. Its numbers mean nothing when
// they could not be computed.
func whyNone(budget *policyv1.PodDisruptionBudget) string {
	s := &budget.Status
	closed := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
	told := closed != nil && closed.Status == metav1.ConditionFalse && closed.Message != ""
	switch {
	case told && closed.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", budget.Name, closed.Message)
	case s.CurrentHealthy <= s.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, s.DesiredHealthy, s.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", budget.Name, closed.Reason, closed.Message)
	default:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
	}
}

func tooManyRequests(budget string) error {
	return refused(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func refused(retryAfter int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes,
		metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}

// deletePod notes in the pod's status why it goes, and deletes it.
func (e *eviction) deletePod(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(options.DryRun) {
		version, err := e.noteDisruption(ctx, name, options.Preconditions)
		if err != nil {
			return err
		}
		if pinned(options) {
			options = pin(options, version)
		}
	}
	_, _, err := e.pods.Store.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}

func (e *eviction) noteDisruption(ctx context.Context, name string, expected *metav1.Preconditions) (version string, err error) {
	kind := schema.GroupResource{Resource: "Pod"} // as a deletion names it
	note := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod := old.(*corev1.Pod).DeepCopy()
		if expected != nil && expected.UID != nil && *expected.UID != "" && *expected.UID != pod.UID {
			return nil, apierrors.NewConflict(kind, name, fmt.Errorf(
				"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *expected.UID, pod.UID))
		}
		if expected != nil && expected.ResourceVersion != nil && *expected.ResourceVersion != "" && *expected.ResourceVersion != pod.ResourceVersion {
			return nil, apierrors.NewConflict(kind, name, fmt.Errorf(
				"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *expected.ResourceVersion, pod.ResourceVersion))
		}
		setCondition(&pod.Status, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		return pod, nil
	}
	obj, _, err := e.pods.Status.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, note),
		rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		return "", err
	}
	return obj.(*corev1.Pod).ResourceVersion, nil
}
