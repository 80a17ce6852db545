package devicetaint

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func at(seconds int64) *metav1.Time { return new(metav1.NewTime(time.Unix(seconds, 0))) }

func taint(key string, effect resourcev1.DeviceTaintEffect, added int64) resourcev1.DeviceTaint {
	return resourcev1.DeviceTaint{Key: key, Effect: effect, TimeAdded: at(added)}
}

func tolerates(key string, seconds ...int64) resourcev1.DeviceToleration {
	out := resourcev1.DeviceToleration{Key: key, Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute}
	for _, s := range seconds {
		out.TolerationSeconds = &s
	}
	return out
}

func TestEndOfTolerance(t *testing.T) {
	hot := taint("hot", resourcev1.DeviceTaintEffectNoExecute, 100)
	for _, tt := range []struct {
		name        string
		tolerations []resourcev1.DeviceToleration
		want        int64 // 0: never
	}{
		{"none", nil, 100},
		{"for ever", []resourcev1.DeviceToleration{tolerates("hot", 5), tolerates("hot")}, 0},
		{"the shortest counts", []resourcev1.DeviceToleration{tolerates("hot", 50), tolerates("hot", 20)}, 120},
		{"less than nothing", []resourcev1.DeviceToleration{tolerates("hot", -5)}, 100},
		{"of another taint", []resourcev1.DeviceToleration{tolerates("cold")}, 100},
		{"of scheduling alone", []resourcev1.DeviceToleration{{Key: "hot", Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoSchedule}}, 100},
	} {
		end, ends := endOfTolerance(tt.tolerations, &hot)
		if ends != (tt.want != 0) || ends && end.Unix() != tt.want {
			t.Errorf("%s: got %v %v, want %d", tt.name, end.Unix(), ends, tt.want)
		}
	}
}

func TestEvictionOf(t *testing.T) {
	slice := func(generation int64, taints ...resourcev1.DeviceTaint) resourcev1.ResourceSlice {
		return resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{
			Driver: "gpu", Pool: resourcev1.ResourcePool{Name: "n1", Generation: generation}, Devices: []resourcev1.Device{{Name: "a", Taints: taints}},
		}}
	}
	rule := func(s *resourcev1.DeviceTaintSelector, taint resourcev1.DeviceTaint) resourcev1.DeviceTaintRule {
		return resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{UID: "r"}, Spec: resourcev1.DeviceTaintRuleSpec{DeviceSelector: s, Taint: taint}}
	}
	evicts, prevents := resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule
	name := "claim"
	pod := func(change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p"}}
		p.Spec.NodeName, p.Spec.ResourceClaims = "n1", []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &name}}
		for _, f := range change {
			f(p)
		}
		return p
	}
	for _, tt := range []struct {
		name   string
		pod    *corev1.Pod
		slices []resourcev1.ResourceSlice
		rules  []resourcev1.DeviceTaintRule
		want   int64 // 0: it stays
		by     int
	}{
		{"nothing tainted", pod(), []resourcev1.ResourceSlice{slice(1)}, nil, 0, 0},
		{"by the driver", pod(), []resourcev1.ResourceSlice{slice(1, taint("hot", evicts, 100))}, nil, 100, 0},
		{"only to keep others off", pod(), []resourcev1.ResourceSlice{slice(1, taint("hot", prevents, 100))}, nil, 0, 0},
		{"in an older generation", pod(), []resourcev1.ResourceSlice{slice(1, taint("hot", evicts, 100)), slice(2)}, nil, 0, 0},
		{"by a rule", pod(), nil, []resourcev1.DeviceTaintRule{rule(&resourcev1.DeviceTaintSelector{}, taint("hot", evicts, 100))}, 100, 1},
		{"by a rule about nothing", pod(), nil, []resourcev1.DeviceTaintRule{rule(nil, taint("hot", evicts, 100))}, 0, 0},
		{"by a rule about others", pod(), nil, []resourcev1.DeviceTaintRule{rule(&resourcev1.DeviceTaintSelector{Pool: new("n2")}, taint("hot", evicts, 100))}, 0, 0},
		{"the earliest counts", pod(), []resourcev1.ResourceSlice{slice(1, taint("hot", evicts, 100))},
			[]resourcev1.DeviceTaintRule{rule(&resourcev1.DeviceTaintSelector{Device: new("a")}, taint("mild", evicts, 50))}, 60, 1},
		{"not on a node", pod(func(p *corev1.Pod) { p.Spec.NodeName = "" }), []resourcev1.ResourceSlice{slice(1, taint("hot", evicts, 100))}, nil, 0, 0},
		{"another of its name", pod(func(p *corev1.Pod) { p.UID = "q" }), []resourcev1.ResourceSlice{slice(1, taint("hot", evicts, 100))}, nil, 0, 0},
	} {
		claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: resourcev1.ResourceClaimStatus{
			Allocation: &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
				{Driver: "gpu", Pool: "n1", Device: "a", Tolerations: []resourcev1.DeviceToleration{tolerates("mild", 10)}}}}},
			ReservedFor: []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "p"}},
		}}
		w := &world{slices: tt.slices, rules: tt.rules, claims: map[types.NamespacedName]*resourcev1.ResourceClaim{{Namespace: "ns", Name: name}: claim}}
		got := w.evictionOf(tt.pod)
		switch {
		case (got != nil) != (tt.want != 0):
			t.Errorf("%s: got %+v, want %d", tt.name, got, tt.want)
		case got != nil && (got.at.Unix() != tt.want || len(got.rules) != tt.by):
			t.Errorf("%s: at %d for %d rules, want %d for %d", tt.name, got.at.Unix(), len(got.rules), tt.want, tt.by)
		}
	}
}
