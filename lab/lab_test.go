package lab

import (
	"context"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestStaleBridge: a lab that was killed leaves its bridge and frees its subnet.
func TestStaleBridge(t *testing.T) {
	first, err := New(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.lock.Close(); err != nil { // as the kernel does for the dead
		t.Fatal(err)
	}
	// The first free subnet is the one that has just become so, or one before it.
	second, err := New(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, err = netlink.LinkByName(first.bridge.Name)
	if second.subnet == first.subnet && err == nil {
		t.Errorf("the dead lab's bridge %s is still there", first.bridge.Name)
	}
	if second.subnet != first.subnet {
		_ = netlink.LinkDel(first.bridge) // another lab ended meanwhile
	}
}
