package nodeipam

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestNextFree(t *testing.T) {
	for _, tt := range []struct {
		cluster string
		bits    int
		used    []string
		want    string // empty: none is left
	}{
		{"10.42.0.0/16", 24, nil, "10.42.0.0/24"},
		{"10.42.0.0/16", 24, []string{"10.42.0.0/24", "10.42.1.0/24", "10.42.3.0/24"}, "10.42.2.0/24"},
		{"10.42.0.0/16", 24, []string{"10.42.0.0/23"}, "10.42.2.0/24"},
		{"10.42.0.0/16", 24, []string{"10.42.0.128/25"}, "10.42.1.0/24"},
		{"10.42.0.0/16", 24, []string{"192.168.0.0/24"}, "10.42.0.0/24"},
		{"10.42.0.0/24", 24, []string{"10.42.0.0/24"}, ""},
		{"10.42.0.0/24", 16, nil, ""},
		{"255.255.255.0/24", 25, []string{"255.255.255.0/25", "255.255.255.128/25"}, ""},
		{"fd00::/56", 64, []string{"fd00::/64"}, "fd00:0:0:1::/64"},
	} {
		var used []netip.Prefix
		for _, u := range tt.used {
			used = append(used, netip.MustParsePrefix(u))
		}
		got, err := nextFree(netip.MustParsePrefix(tt.cluster), tt.bits, used)
		switch {
		case tt.want == "" && !errors.Is(err, errFull):
			t.Errorf("%s without %v: %v %v, want none", tt.cluster, tt.used, got, err)
		case tt.want != "" && (err != nil || got.String() != tt.want):
			t.Errorf("%s without %v: %v %v, want %s", tt.cluster, tt.used, got, err, tt.want)
		}
	}
}

func TestRangesNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := netip.MustParsePrefix("10.0.0.0/20")
		var used []netip.Prefix
		for range 16 {
			if len(used) > 0 && rapid.Bool().Draw(t, "free one") {
				i := rapid.IntRange(0, len(used)-1).Draw(t, "which")
				used = append(used[:i], used[i+1:]...)
			}
			got, err := nextFree(cluster, rapid.IntRange(24, 26).Draw(t, "bits"), used)
			if err != nil {
				continue
			}
			for _, u := range used {
				if u.Overlaps(got) {
					t.Fatalf("%v overlaps %v", got, u)
				}
			}
			used = append(used, got)
		}
	})
}
