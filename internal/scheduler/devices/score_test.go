package devices

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
)

func TestRankOfAlternatives(t *testing.T) {
	alternatives := func(names ...string) (out []resourcev1.DeviceSubRequest) {
		for _, n := range names {
			out = append(out, resourcev1.DeviceSubRequest{Name: n})
		}
		return out
	}
	claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "exact", Exactly: &resourcev1.ExactDeviceRequest{}},
		{Name: "gpu", FirstAvailable: alternatives("large", "small")},
		{Name: "nic", FirstAvailable: alternatives("fast", "slow", "slower")},
	}}}}
	for _, tt := range []struct {
		name  string
		given []string
		want  int64
	}{
		{"the best of all", []string{"exact", "gpu/large", "nic/fast"}, 16},
		{"several devices of one", []string{"gpu/large", "gpu/large", "nic/fast"}, 16},
		{"less", []string{"exact", "gpu/small", "nic/slower"}, 13},
		{"no alternatives", []string{"exact"}, 0},
	} {
		var a resourcev1.AllocationResult
		for _, r := range tt.given {
			a.Devices.Results = append(a.Devices.Results, resourcev1.DeviceRequestAllocationResult{Request: r})
		}
		if got := rank(claim, &a); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	if rule, _ := (&Plan{open: []*resourcev1.ResourceClaim{claim}}).Scored(); rule == "" {
		t.Error("a claim with alternatives tells no nodes apart")
	}
	if rule, _ := (&Plan{}).Scored(); rule != "" {
		t.Error("a pod without open claims tells nodes apart")
	}
}
