package compile

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// Set is one of the table's sets and maps.
type Set uint8

// A frontend's key is address . protocol . port, with address 0.0.0.0 for every
// address of the node.
const (
	// Services maps frontends to pools.
	Services Set = iota
	// Inside does so for connections from pods and from the node, where they differ.
	Inside
	// External has the frontends whose connections must come back through this node.
	External
	// Refused maps frontends without endpoints to RejectChain or DropChain.
	Refused
	// Guarded has the frontends that only some sources may use.
	Guarded
	// Allowed has frontend . source for the Guarded ones, as ranges.
	Allowed
	// Picks maps pools to the chains that pick one of their endpoints.
	Picks
	// Endpoints maps pool . number to endpoints.
	Endpoints
	// Members has pool . endpoint, for pools that remember their clients.
	Members
	// Hairpin has endpoint . endpoint for those on this node.
	Hairpin
	// Sets is how many there are.
	Sets
)

// Chains that Refused leads to.
const (
	RejectChain = "reject"
	DropChain   = "drop"
)

// Element is one element of a set; comparable, its fields are bytes.
type Element struct {
	Set Set
	Key string
	// KeyEnd is a range's end, in Allowed alone.
	KeyEnd string
	// Value is a map's value; in Picks and Refused it is a chain's name.
	Value string
}

// place is where an element lies: there can be one value only.
type place struct {
	set Set
	key string
}

// Delta is what to change. Deletions come first.
type Delta struct {
	Delete, Add []Element
	// Flows are the datagram frontends whose endpoints changed.
	Flows Flows
}

// Empty says that there is nothing to do.
func (d Delta) Empty() bool { return len(d.Delete) == 0 && len(d.Add) == 0 && len(d.Flows) == 0 }

// Flows are frontends with the endpoints that flows to them may lead to, so that
// the kernel's memory of other flows can be dropped: datagrams have no end that
// would do it.
type Flows map[Front]map[netip.AddrPort]bool

// Front is what clients connect to.
type Front struct {
	// Addr is invalid for every address of the node.
	Addr  netip.Addr
	Proto uint8
	Port  uint16
}

func (f Front) key() string {
	return string(nft.Key(nft.Addr(f.Addr), []byte{f.Proto}, nft.Port(f.Port)))
}

// Pick is the way one endpoint is picked.
type Pick struct {
	// Endpoints is how many there are to pick from.
	Endpoints int
	// Sticky is how long a client without a new connection is remembered; 0 is not at all.
	Sticky time.Duration
}

const pickPrefix = "pick-"

// Chain is the name of the chain that picks so.
func (p Pick) Chain() string {
	if p.Sticky == 0 {
		return pickPrefix + strconv.Itoa(p.Endpoints)
	}
	return fmt.Sprintf("%s%d-for-%d", pickPrefix, p.Endpoints, int(p.Sticky/time.Second))
}

// ParsePick is Chain's inverse.
func ParsePick(chain string) (Pick, bool) {
	rest, ok := strings.CutPrefix(chain, pickPrefix)
	if !ok {
		return Pick{}, false
	}
	count, seconds, sticky := strings.Cut(rest, "-for-")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return Pick{}, false
	}
	p := Pick{Endpoints: n}
	if sticky {
		s, err := strconv.Atoi(seconds)
		if err != nil || s < 1 {
			return Pick{}, false
		}
		p.Sticky = time.Duration(s) * time.Second
	}
	return p, p.Chain() == chain
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
