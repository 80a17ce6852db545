package devices

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRulesTaintWhatIsOffered(t *testing.T) {
	w := New()
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu", Pool: resourcev1.ResourcePool{Name: "n1"}, Devices: []resourcev1.Device{{Name: "a"}, {Name: "b"}},
	}}
	rule := func(name string, s *resourcev1.DeviceTaintSelector) *resourcev1.DeviceTaintRule {
		return &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceTaintRuleSpec{
			DeviceSelector: s, Taint: resourcev1.DeviceTaint{Key: name, Effect: resourcev1.DeviceTaintEffectNoSchedule},
		}}
	}
	taints := func() (n [2]int) {
		for i, d := range w.offer()[0].Spec.Devices {
			n[i] = len(d.Taints)
		}
		return n
	}
	w.Set(slice, false)
	for _, step := range []struct {
		name    string
		rule    *resourcev1.DeviceTaintRule
		deleted bool
		want    [2]int
	}{
		{"one device", rule("one", &resourcev1.DeviceTaintSelector{Driver: new("gpu"), Device: new("a")}), false, [2]int{1, 0}},
		{"no selector", rule("none", nil), false, [2]int{1, 0}},
		{"all devices", rule("all", &resourcev1.DeviceTaintSelector{}), false, [2]int{2, 1}},
		{"another pool", rule("other", &resourcev1.DeviceTaintSelector{Pool: new("n2")}), false, [2]int{2, 1}},
		{"a rule that goes", rule("all", nil), true, [2]int{1, 0}},
	} {
		if !w.Set(step.rule, step.deleted) {
			t.Fatalf("%s: rules do not matter", step.name)
		}
		if got := taints(); got != step.want {
			t.Errorf("%s: taints %v, want %v", step.name, got, step.want)
		}
	}
	if len(slice.Spec.Devices[0].Taints) != 0 {
		t.Error("the driver's own slice was changed")
	}
}
