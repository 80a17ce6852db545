package nodeipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestNext(t *testing.T) {
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
		{"10.42.0.0/16", 24, []string{"10.0.0.0/8"}, ""},
		{"10.42.0.0/24", 24, []string{"10.42.0.0/24"}, ""},
		{"255.255.255.0/24", 25, []string{"255.255.255.0/25", "255.255.255.128/25"}, ""},
		{"fd00::/56", 64, []string{"fd00::/64"}, "fd00:0:0:1::/64"},
	} {
		p := newPool(netip.MustParsePrefix(tt.cluster), tt.bits)
		for _, u := range prefixes(tt.used) {
			p.count(u, 1)
		}
		for range 2 { // asking changes nothing
			got, err := p.next()
			switch {
			case tt.want == "" && !errors.Is(err, errFull):
				t.Errorf("%s without %v: %v %v, want none", tt.cluster, tt.used, got, err)
			case tt.want != "" && (err != nil || got.String() != tt.want):
				t.Errorf("%s without %v: %v %v, want %s", tt.cluster, tt.used, got, err, tt.want)
			}
		}
		for _, u := range prefixes(tt.used) {
			p.count(u, -1)
		}
		if got, err := p.next(); err != nil || got != netip.PrefixFrom(p.cluster.Addr(), tt.bits) || len(p.taken)+len(p.larger) > 0 {
			t.Errorf("%s when all is free again: %v %v", tt.cluster, got, err)
		}
	}
}

func TestLedger(t *testing.T) {
	l := newLedger(prefixes([]string{"10.0.0.0/23", "fd00::/48"}))
	give := func(node types.UID, want ...string) {
		t.Helper()
		got, err := l.give(node)
		if len(want) == 0 && !errors.Is(err, errFull) {
			t.Errorf("%s: got %v %v, want nothing", node, got, err)
		}
		if len(want) > 0 && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v %v, want %v", node, got, err, want)
		}
	}
	l.hold("other", prefixes([]string{"10.0.0.0/24"}))
	give("a", "10.0.1.0/24", "fd00::/64")
	give("a", "10.0.1.0/24", "fd00::/64") // what it holds already
	give("b")
	l.free("other")
	give("b", "10.0.0.0/24", "fd00:0:0:1::/64")
	l.hold("b", prefixes([]string{"192.168.0.0/24"})) // somebody gave it another
	give("c", "10.0.0.0/24", "fd00:0:0:1::/64")
	l.free("unknown")
}

func TestRangesNeverOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger(prefixes([]string{"10.0.0.0/20"}))
		held := map[types.UID][]netip.Prefix{}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			node := types.UID(fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "node")))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				l.free(node)
				delete(held, node)
			case 1:
				if len(held[node]) > 0 {
					l.hold(node, held[node]) // seen
				}
			default:
				parts, err := l.give(node)
				if err != nil {
					if len(held) < 16 {
						t.Fatalf("step %d: %d of 16 are held, yet %v", i, len(held), err)
					}
					continue
				}
				if before := held[node]; before != nil && before[0] != parts[0] {
					t.Fatalf("node %s had %v and got %v", node, before, parts)
				}
				held[node] = parts
			}
			for a, x := range held {
				for b, y := range held {
					if a != b && x[0].Overlaps(y[0]) {
						t.Fatalf("%s has %v, %s has %v", a, x, b, y)
					}
				}
			}
		}
	})
}
