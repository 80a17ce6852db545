package services

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNetworks(t *testing.T) {
	n := &networks{ranges: []*addresses{newAddresses(netip.MustParsePrefix("10.0.0.0/30"))}}
	first := netip.MustParseAddr("10.0.0.1")
	if err := n.claim(first); err != nil {
		t.Fatal(err)
	}
	wide := netip.MustParsePrefix("10.0.0.0/29")
	n.add(wide)
	if err := n.claim(first); err == nil {
		t.Error("an address is given again through a range that was added")
	}
	seen := map[netip.Addr]bool{first: true}
	for range 5 { // of six in the wider one
		ip, ok := n.next()
		if !ok || seen[ip] || !wide.Contains(ip) {
			t.Fatalf("given %v, %v after %v", ip, ok, seen)
		}
		seen[ip] = true
	}
	if ip, ok := n.next(); ok {
		t.Errorf("a full range gives %v", ip)
	}
	if !n.needed(wide) {
		t.Error("a range with addresses in use is not needed")
	}
	n.find(wide).closed = true
	last := netip.MustParseAddr("10.0.0.6")
	n.free(last)
	if err := n.claim(last); err == nil {
		t.Error("a closed range gives")
	}
	for ip := range seen {
		if !netip.MustParsePrefix("10.0.0.0/30").Contains(ip) || ip == netip.MustParseAddr("10.0.0.3") {
			n.free(ip)
		}
	}
	if n.needed(wide) {
		t.Error("what another range covers needs the wider one")
	}
	n.remove(wide)
	if n.find(wide) != nil {
		t.Error("a removed range is there")
	}
}

func TestSetRanges(t *testing.T) {
	a, err := New(Options{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	more := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.1.0.0/24", "fd00::/64"}}}
	a.setRanges([]*networkingv1.ServiceCIDR{more})
	ip := netip.MustParseAddr("10.1.0.9")
	if !a.keep(ip) || a.keep(ip) {
		t.Error("an address of the added range is not taken once")
	}
	now := metav1.Now()
	more.DeletionTimestamp = &now
	a.setRanges([]*networkingv1.ServiceCIDR{more})
	if a.keep(netip.MustParseAddr("10.1.0.10")) {
		t.Error("a range that is going away gives")
	}
	if !a.needed(more) {
		t.Error("a range with a kept address is not needed")
	}
	if !a.unkeep(ip) || a.needed(more) {
		t.Error("an empty range is needed")
	}
	a.setRanges(nil)
	if got := len(a.ips["IPv4"].ranges); got != 1 {
		t.Errorf("%d ranges are left, want the cluster's own", got)
	}
}
