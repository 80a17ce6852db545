// Package devicetaint deletes pods that use devices with NoExecute taints which
// their claims do not tolerate, or not any longer. Drivers taint devices in
// ResourceSlices, administrators by DeviceTaintRules.
//
// It owns these deletions, and the condition of rules that tells how far they
// are. Everything else follows from claims, slices and rules, so that a restart
// does not begin anew.
package devicetaint

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// statusPause is the shortest time between two writes of a rule's status.
const statusPause = 10 * time.Second

// Controller reconciles pods and rules.
type Controller struct {
	loop.Deps
	pods, rules *loop.Loop
	progress    chan event.GenericEvent // rules for which pods were evicted

	mu      sync.Mutex
	evicted map[types.UID]int // pods by rule, since the start; guarded by mu
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, progress: make(chan event.GenericEvent, 1024), evicted: map[types.UID]int{}}
	c.pods = loop.New("device-taint-eviction", 4, deps, c.reconcilePod)
	c.pods.WatchChanges(&corev1.Pod{}, podChanged)
	c.pods.WatchChanges(&resourcev1.ResourceClaim{}, func(before, after client.Object) []loop.Key {
		return append(users(before), users(after)...)
	})
	c.pods.WatchChanges(&resourcev1.ResourceSlice{}, c.sliceChanged)
	c.pods.WatchChanges(&resourcev1.DeviceTaintRule{}, c.ruleChanged)
	c.rules = loop.New("device-taint-rules", 1, deps, c.reconcileRule)
	c.rules.WatchChanges(&resourcev1.DeviceTaintRule{}, func(before, after client.Object) []loop.Key {
		if after == nil || before != nil && before.GetGeneration() == after.GetGeneration() {
			return nil
		}
		return loop.Self(after)
	})
	c.rules.WatchChannel(c.progress, loop.Self)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.pods.Run(ctx) })
	group.Go(func() error { return c.rules.Run(ctx) })
	return group.Wait()
}

func podChanged(before, after client.Object) []loop.Key {
	pod, ok := after.(*corev1.Pod)
	if !ok || len(pod.Spec.ResourceClaims) == 0 {
		return nil
	}
	if old, ok := before.(*corev1.Pod); ok && old.Spec.NodeName == pod.Spec.NodeName &&
		equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		return nil
	}
	return loop.Self(pod)
}

// users are the pods that a claim is reserved for, if it has devices.
func users(obj client.Object) (keys []loop.Key) {
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok || claim.Status.Allocation == nil {
		return nil
	}
	for _, by := range claim.Status.ReservedFor {
		if by.APIGroup == "" && by.Resource == "pods" {
			keys = append(keys, loop.Key{Namespace: claim.Namespace, Name: by.Name})
		}
	}
	return keys
}

func (c *Controller) sliceChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*resourcev1.ResourceSlice)
	now, _ := after.(*resourcev1.ResourceSlice)
	if !tainted(old) && !tainted(now) || old != nil && now != nil && old.Generation == now.Generation {
		return nil
	}
	if now == nil {
		now = old
	}
	driver, pool := now.Spec.Driver, now.Spec.Pool.Name
	return c.usersOf(&resourcev1.DeviceTaintSelector{Driver: &driver, Pool: &pool})
}

func tainted(s *resourcev1.ResourceSlice) bool {
	if s == nil {
		return false
	}
	for i := range s.Spec.Devices {
		if len(s.Spec.Devices[i].Taints) > 0 {
			return true
		}
	}
	return false
}

func (c *Controller) ruleChanged(before, after client.Object) (keys []loop.Key) {
	if before != nil && after != nil && before.GetGeneration() == after.GetGeneration() {
		return nil
	}
	for _, obj := range []client.Object{before, after} {
		if rule, ok := obj.(*resourcev1.DeviceTaintRule); ok && rule.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNoExecute {
			keys = append(keys, c.usersOf(rule.Spec.DeviceSelector)...)
		}
	}
	if rule, ok := before.(*resourcev1.DeviceTaintRule); ok && after == nil {
		c.mu.Lock()
		delete(c.evicted, rule.UID)
		c.mu.Unlock()
	}
	return keys
}

// usersOf are the pods that have devices which a selector is about.
func (c *Controller) usersOf(s *resourcev1.DeviceTaintSelector) (keys []loop.Key) {
	var claims resourcev1.ResourceClaimList
	if err := c.Cache.List(context.Background(), &claims, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list claims of tainted devices", "err", err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Status.Allocation == nil {
			continue
		}
		for _, d := range claim.Status.Allocation.Devices.Results {
			if selects(s, d.Driver, d.Pool, d.Device) {
				keys = append(keys, users(claim)...)
				break
			}
		}
	}
	return keys
}

// world reads what there is; of claims those of a namespace, or with "" all.
func (c *Controller) world(ctx context.Context, namespace string) (*world, error) {
	var slices resourcev1.ResourceSliceList
	var rules resourcev1.DeviceTaintRuleList
	var claims resourcev1.ResourceClaimList
	if err := c.Cache.List(ctx, &slices, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	if err := c.Cache.List(ctx, &rules, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list device taint rules: %w", err)
	}
	if err := c.Cache.List(ctx, &claims, client.UnsafeDisableDeepCopy, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list resource claims: %w", err)
	}
	out := &world{slices: slices.Items, rules: rules.Items, claims: map[types.NamespacedName]*resourcev1.ResourceClaim{}}
	for i := range claims.Items {
		out.claims[client.ObjectKeyFromObject(&claims.Items[i])] = &claims.Items[i]
	}
	return out, nil
}

func (c *Controller) reconcilePod(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || len(pod.Spec.ResourceClaims) == 0 {
		return 0, nil
	}
	w, err := c.world(ctx, pod.Namespace)
	if err != nil {
		return 0, err
	}
	e := w.evictionOf(pod)
	if e == nil {
		return 0, nil
	}
	now := time.Now()
	if left := e.at.Sub(now); left > 0 {
		return left, nil
	}
	if err := c.evict(ctx, pod, now); err != nil {
		return 0, err
	}
	c.tell(w, e)
	return 0, nil
}

func (c *Controller) evict(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	c.Events.Eventf(pod, corev1.EventTypeNormal, "DeviceTaintManagerEviction", "Marking for deletion")
	if err := workload.Evict(ctx, c.Client, pod, "DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint", now); err != nil {
		return err
	}
	c.Log.Info("pod evicted from tainted device", "pod", pod.Namespace+"/"+pod.Name, "node", pod.Spec.NodeName)
	return nil
}

// tell counts an eviction for its rules, and lets their status be written.
func (c *Controller) tell(w *world, e *eviction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, uid := range e.rules {
		c.evicted[uid]++
		for i := range w.rules {
			if w.rules[i].UID != uid {
				continue
			}
			select {
			case c.progress <- event.GenericEvent{Object: &w.rules[i]}:
			default: // so many are told that this one is among them
			}
		}
	}
}

// reconcileRule writes a rule's status: at once when its spec is new, and from
// time to time while pods go.
func (c *Controller) reconcileRule(ctx context.Context, key loop.Key) (time.Duration, error) {
	rule := &resourcev1.DeviceTaintRule{}
	if err := c.Cache.Get(ctx, key, rule, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	now := time.Now()
	have := meta.FindStatusCondition(rule.Status.Conditions, resourcev1.DeviceTaintConditionEvictionInProgress)
	if have != nil && have.ObservedGeneration == rule.Generation {
		if left := have.LastTransitionTime.Add(statusPause).Sub(now); left > 0 {
			return left, nil
		}
	}
	w, err := c.world(ctx, "")
	if err != nil {
		return 0, err
	}
	var pods corev1.PodList
	if err := c.Cache.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	c.mu.Lock()
	evicted := c.evicted[rule.UID]
	c.mu.Unlock()
	want := condition(rule, w.countFor(rule, pods.Items), evicted)
	again := time.Duration(0)
	if want.Status == metav1.ConditionTrue {
		again = statusPause // pods may go without this controller's doing
	}
	if have != nil {
		want.LastTransitionTime = have.LastTransitionTime
		if *have == want {
			return again, nil
		}
	}
	// It tells when the condition was written last, as upstream's does.
	want.LastTransitionTime = metav1.NewTime(now)
	changed := rule.DeepCopy()
	meta.RemoveStatusCondition(&changed.Status.Conditions, want.Type)
	changed.Status.Conditions = append(changed.Status.Conditions, want)
	if err := c.Client.Status().Patch(ctx, changed, client.MergeFrom(rule)); err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("write the status of device taint rule %s: %w", rule.Name, err))
	}
	return again, nil
}
