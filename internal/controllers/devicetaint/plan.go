package devicetaint

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// world is what is known of devices and who has them.
type world struct {
	slices []resourcev1.ResourceSlice
	rules  []resourcev1.DeviceTaintRule
	claims map[types.NamespacedName]*resourcev1.ResourceClaim
}

// eviction is when a pod has to go, and for which rules.
type eviction struct {
	at    time.Time
	rules []types.UID
}

// evictionOf says when a pod has to leave for taints of its devices, or nil.
func (w *world) evictionOf(pod *corev1.Pod) *eviction {
	if pod.Spec.NodeName == "" {
		return nil
	}
	var out *eviction
	for i := range pod.Spec.ResourceClaims {
		name, mine, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil || name == nil {
			continue // it is not there yet, or not needed
		}
		claim := w.claims[types.NamespacedName{Namespace: pod.Namespace, Name: *name}]
		switch {
		case claim == nil || claim.Status.Allocation == nil:
		case mine && resourceclaim.IsForPod(pod, claim, false) != nil:
		case !resourceclaim.IsReservedForPod(pod, claim, false): // another of the same name
		default:
			for j := range claim.Status.Allocation.Devices.Results {
				out = w.earliest(out, &claim.Status.Allocation.Devices.Results[j])
			}
		}
	}
	return out
}

// earliest takes one device into account.
func (w *world) earliest(out *eviction, device *resourcev1.DeviceRequestAllocationResult) *eviction {
	add := func(taint *resourcev1.DeviceTaint, rule types.UID) {
		at, ends := endOfTolerance(device.Tolerations, taint)
		if !ends {
			return
		}
		if out == nil {
			out = &eviction{at: at}
		}
		if at.Before(out.at) {
			out.at = at
		}
		if rule != "" {
			out.rules = append(out.rules, rule)
		}
	}
	for _, t := range w.published(device) {
		if t.Effect == resourcev1.DeviceTaintEffectNoExecute {
			add(&t, "")
		}
	}
	for i := range w.rules {
		if r := &w.rules[i]; r.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNoExecute && selects(r.Spec.DeviceSelector, device.Driver, device.Pool, device.Device) {
			add(&r.Spec.Taint, r.UID)
		}
	}
	return out
}

// published are the taints that a driver has put on a device: those of the newest
// generation of its pool.
func (w *world) published(device *resourcev1.DeviceRequestAllocationResult) (out []resourcev1.DeviceTaint) {
	newest := int64(-1)
	for i := range w.slices {
		s := &w.slices[i].Spec
		if s.Driver != device.Driver || s.Pool.Name != device.Pool || s.Pool.Generation < newest {
			continue
		}
		if s.Pool.Generation > newest {
			newest, out = s.Pool.Generation, nil
		}
		for j := range s.Devices {
			if s.Devices[j].Name == device.Device {
				out = s.Devices[j].Taints
			}
		}
	}
	return out
}

// selects reports whether a rule is about a device. A rule without a selector is
// about none, one with an empty selector about all.
func selects(s *resourcev1.DeviceTaintSelector, driver, pool, device string) bool {
	is := func(want *string, have string) bool { return want == nil || *want == have }
	return s != nil && is(s.Driver, driver) && is(s.Pool, pool) && is(s.Device, device)
}

// endOfTolerance says until when a taint is tolerated; false is for ever.
func endOfTolerance(tolerations []resourcev1.DeviceToleration, taint *resourcev1.DeviceTaint) (time.Time, bool) {
	var end time.Time
	if taint.TimeAdded != nil {
		end = taint.TimeAdded.Time
	}
	least := time.Duration(-1)
	for _, t := range tolerations {
		if t.Effect != resourcev1.DeviceTaintEffectNoExecute || !resourceclaim.ToleratesTaint(t, *taint) {
			continue
		}
		if t.TolerationSeconds == nil {
			return end, false
		}
		if d := max(time.Duration(*t.TolerationSeconds)*time.Second, 0); least < 0 || d < least {
			least = d
		}
	}
	return end.Add(max(least, 0)), true
}

// count is what a rule does, or would do if its effect were NoExecute.
type count struct {
	pods, namespaces     int
	published, allocated int // devices
}

// countFor counts what a rule is about.
func (w *world) countFor(rule *resourcev1.DeviceTaintRule, pods []corev1.Pod) count {
	simulated := rule.DeepCopy()
	simulated.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute
	as := &world{rules: []resourcev1.DeviceTaintRule{*simulated}, claims: w.claims}
	var out count
	namespaces := map[string]bool{}
	for i := range pods {
		if pods[i].DeletionTimestamp == nil && as.evictionOf(&pods[i]) != nil {
			out.pods++
			namespaces[pods[i].Namespace] = true
		}
	}
	out.namespaces = len(namespaces)
	newest := map[[2]string]int64{}
	for i := range w.slices {
		s := &w.slices[i].Spec
		pool := [2]string{s.Driver, s.Pool.Name}
		newest[pool] = max(newest[pool], s.Pool.Generation)
	}
	for i := range w.slices {
		s := &w.slices[i].Spec
		for j := range s.Devices {
			if s.Pool.Generation == newest[[2]string{s.Driver, s.Pool.Name}] && selects(rule.Spec.DeviceSelector, s.Driver, s.Pool.Name, s.Devices[j].Name) {
				out.published++
			}
		}
	}
	for _, c := range w.claims {
		if c.Status.Allocation == nil {
			continue
		}
		for _, d := range c.Status.Allocation.Devices.Results {
			if selects(rule.Spec.DeviceSelector, d.Driver, d.Pool, d.Device) {
				out.allocated++
			}
		}
	}
	return out
}

// condition is what a rule's status says; evicted is how many pods went for it.
func condition(rule *resourcev1.DeviceTaintRule, n count, evicted int) metav1.Condition {
	out := metav1.Condition{
		Type: resourcev1.DeviceTaintConditionEvictionInProgress, Status: metav1.ConditionFalse, ObservedGeneration: rule.Generation,
	}
	several := func(n int, one, more string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, more)
	}
	where := several(n.namespaces, "namespace", "different namespaces")
	var says []string
	switch rule.Spec.Taint.Effect {
	case resourcev1.DeviceTaintEffectNoExecute:
		switch {
		case n.pods > 0:
			out.Status, out.Reason = metav1.ConditionTrue, "PodsPendingEviction"
			says = append(says, several(n.pods, "pod needs", "pods need")+" to be evicted in "+where+".")
		case evicted > 0:
			out.Reason = "Completed"
		default:
			out.Reason = "NotStarted"
		}
	case resourcev1.DeviceTaintEffectNone:
		out.Reason = "NoEffect"
		says = append(says,
			several(n.published, "published device", "published devices")+" selected.",
			several(n.allocated, "allocated device", "allocated devices")+" selected.",
			several(n.pods, "pod", "pods")+" would be evicted in "+where+" if the effect was NoExecute.",
			"This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.")
	default:
		out.Reason = "OtherEffect"
		says = append(says, "Eviction only happens for the NoExecute effect.")
	}
	if evicted > 0 {
		says = append(says, several(evicted, "pod", "pods")+" evicted since starting the controller.")
	}
	out.Message = strings.Join(says, " ")
	return out
}
