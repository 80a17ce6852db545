package node

import "testing"

func TestSwap(t *testing.T) {
	if info := (Machine{}).info("v1", "r"); info.Swap != nil {
		t.Errorf("a machine without swap has %v", info.Swap)
	}
	if info := (Machine{Swap: 5}).info("v1", "r"); info.Swap == nil || *info.Swap.Capacity != 5 {
		t.Errorf("a machine with 5 bytes of swap has %v", info.Swap)
	}
}
