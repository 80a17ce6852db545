package apply

import (
	"net/netip"

	"github.com/google/nftables"

	"github.com/sinawi/sinawi/internal/podnet/nft"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// setName has the kernel's names of the sets.
func setName(s compile.Set) string {
	return [compile.Sets]string{
		compile.Services: "services", compile.Inside: "inside", compile.External: "external", compile.Refused: "refused",
		compile.Guarded: "guarded", compile.Allowed: "allowed", compile.Picks: "picks", compile.Endpoints: "endpoints",
		compile.Members: "members", compile.Hairpin: "hairpin",
	}[s]
}

// affinity remembers source . pool → endpoint. The packet path alone writes it.
const affinity = "affinity"

// affinitySize bounds the memory that clients can make the kernel use.
const affinitySize = 1 << 20

func (t *Table) makeSets() {
	addr, proto, port, num := nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark
	endpoint := nft.SetType(addr, port)
	table := t.table
	t.sets = [compile.Sets]*nftables.Set{
		compile.Services:  nft.NewMap(table, setName(compile.Services), num, addr, proto, port),
		compile.Inside:    nft.NewMap(table, setName(compile.Inside), num, addr, proto, port),
		compile.External:  nft.NewSet(table, setName(compile.External), addr, proto, port),
		compile.Refused:   nft.NewMap(table, setName(compile.Refused), nftables.TypeVerdict, addr, proto, port),
		compile.Guarded:   nft.NewSet(table, setName(compile.Guarded), addr, proto, port),
		compile.Allowed:   nft.NewSet(table, setName(compile.Allowed), addr, proto, port, addr),
		compile.Picks:     nft.NewMap(table, setName(compile.Picks), nftables.TypeVerdict, num),
		compile.Endpoints: nft.NewMap(table, setName(compile.Endpoints), endpoint, num, num),
		compile.Members:   nft.NewSet(table, setName(compile.Members), num, addr, port),
		compile.Hairpin:   nft.NewSet(table, setName(compile.Hairpin), addr, addr),
	}
	t.sets[compile.Allowed].Interval = true
	t.affinity = nft.NewMap(table, affinity, endpoint, addr, num)
	t.affinity.Dynamic, t.affinity.HasTimeout, t.affinity.Size = true, true, affinitySize
}

// Registers by use. A frontend's key lies in 0 to 2, with a source in 3; where it
// leads follows in an order in which every lookup finds its key in a row:
// source . pool, pool . number, pool . endpoint.
const (
	regKey    = 0
	regSource = 3
	regClient = 7
	regPool   = 8
	regNumber = 9
	regTo     = 9
	regToPort = 10
)

// way is one way to read where a packet goes, tried in order.
type way struct {
	match []nft.Expr
	set   compile.Set
}

// byAddress and byNode load a frontend's key; the second ends a rule for packets
// that go elsewhere than to this node.
func byAddress() []nft.Expr {
	return []nft.Expr{nft.LoadDest(nft.Reg(regKey)), nft.LoadProto(nft.Reg(regKey + 1)), nft.LoadDestPort(nft.Reg(regKey + 2))}
}

func byNode() []nft.Expr {
	return []nft.Expr{nft.DestLocal(), nft.LoadZero(nft.Reg(regKey)), nft.LoadProto(nft.Reg(regKey + 1)), nft.LoadDestPort(nft.Reg(regKey + 2))}
}

func (t *Table) ways() []way {
	var out []way
	for _, inside := range []nft.Expr{nft.SourceIn(t.o.ClusterCIDR), nft.SourceLocal()} {
		out = append(out,
			way{append([]nft.Expr{inside}, byAddress()...), compile.Inside},
			way{append([]nft.Expr{inside}, byNode()...), compile.Inside})
	}
	return append(out, way{byAddress(), compile.Services}, way{byNode(), compile.Services})
}

// rule is a way's rule that goes on with the pool in its register.
func (w way) rule(then ...nft.Expr) []nft.Expr {
	out := append([]nft.Expr{}, w.match...)
	out = append(out, nft.Map(nft.Reg(regKey), setName(w.set), nft.Reg(regPool)))
	return append(out, then...)
}

// chain is a chain with its rules, each a list of matches and a statement.
type chain struct {
	*nftables.Chain
	rules [][]nft.Expr
}

func join(parts ...[]nft.Expr) []nft.Expr {
	var out []nft.Expr
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, rules ...[]nft.Expr) chain {
	return chain{&nftables.Chain{Name: name, Type: kind, Hooknum: hook, Priority: &priority}, rules}
}

// beforeFilters lets refusals come before other programs' firewalls.
const beforeFilters = -10

func (t *Table) chains() []chain {
	refuse := []nft.Expr{nft.StateNew(), nft.Jump("refuse")}
	translate := []nft.Expr{nft.Jump("services")}
	return []chain{
		{&nftables.Chain{Name: compile.RejectChain}, [][]nft.Expr{{nft.Proto(protoTCP), nft.RejectTCP()}, {nft.Reject()}}},
		{&nftables.Chain{Name: compile.DropChain}, [][]nft.Expr{{nft.Drop()}}},
		{&nftables.Chain{Name: "refuse"}, t.refuse()},
		{&nftables.Chain{Name: "services"}, t.services()},
		base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest, translate),
		base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest, translate),
		base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource-1, t.sources()...),
		base("filter-input", nftables.ChainTypeFilter, nftables.ChainHookInput, beforeFilters, refuse),
		// A pod's packet that conntrack cannot place keeps its own source, and makes
		// a client that knows only the service reset the connection.
		base("filter-forward", nftables.ChainTypeFilter, nftables.ChainHookForward, beforeFilters,
			[]nft.Expr{nft.StateInvalid(), nft.InFromAny(t.o.PodLinks), nft.Drop()}, refuse),
		base("filter-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, beforeFilters, refuse),
	}
}

const protoTCP = 6

// services sends a connection to the chain that picks its endpoint and marks it
// if its answers must come back through this node.
func (t *Table) services() [][]nft.Expr {
	mark, key := nft.SetMark(t.o.Mark), nft.Reg(regKey)
	rules := [][]nft.Expr{
		join(byAddress(), []nft.Expr{nft.LoadSource(nft.Reg(regSource)), nft.InSet(key, setName(compile.Guarded)), nft.NotInSet(key, setName(compile.Allowed)), nft.Drop()}),
		{nft.SourceNotIn(t.o.ClusterCIDR), nft.DestIn(t.o.ServiceCIDR), mark},
		join(byAddress(), []nft.Expr{nft.InSet(key, setName(compile.External)), mark}),
		join(byNode(), []nft.Expr{nft.InSet(key, setName(compile.External)), mark}),
		join([]nft.Expr{nft.SourceLocal()}, byAddress(), []nft.Expr{nft.InSet(key, setName(compile.Inside)), mark}),
		join([]nft.Expr{nft.SourceLocal()}, byNode(), []nft.Expr{nft.InSet(key, setName(compile.Inside)), mark}),
	}
	for _, w := range t.ways() {
		rules = append(rules, w.rule(nft.VerdictMap(nft.Reg(regPool), setName(compile.Picks))))
	}
	return rules
}

// refuse answers for services that nothing was found for.
func (t *Table) refuse() [][]nft.Expr {
	return [][]nft.Expr{
		{nft.StatusDNAT(), nft.Return()},
		join(byAddress(), []nft.Expr{nft.VerdictMap(nft.Reg(regKey), setName(compile.Refused))}),
		join(byNode(), []nft.Expr{nft.VerdictMap(nft.Reg(regKey), setName(compile.Refused))}),
		{nft.DestIn(t.o.ServiceCIDR), nft.Jump(compile.RejectChain)},
	}
}

// sources translates the source of what was marked and of pods that reached
// themselves: pods see their gateway.
func (t *Table) sources() [][]nft.Expr {
	marked, clear := nft.Marked(t.o.Mark), nft.ClearMark(t.o.Mark)
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	return [][]nft.Expr{
		{marked, nft.OutTo("lo"), clear, nft.Return()},
		{marked, nft.OutToAny(t.o.PodLinks), clear, nft.SNAT(t.o.Gateway)},
		{marked, clear, nft.Masquerade()},
		{nft.StatusDNAT(), nft.LoadSource(nft.Reg(0)), nft.LoadDest(nft.Reg(1)), nft.InSet(nft.Reg(0), setName(compile.Hairpin)), nft.SNAT(t.o.Gateway)},
		{nft.StatusDNAT(), nft.SourceIn(loopback), nft.OutToAny(t.o.PodLinks), nft.SNAT(t.o.Gateway)},
	}
}

// pick is the chain that picks one of so many endpoints.
func (t *Table) pick(p compile.Pick) chain {
	pool, to := nft.Reg(regPool), nft.Reg(regTo)
	random := []nft.Expr{nft.Random(uint32(p.Endpoints), 0, nft.Reg(regNumber)), nft.Map(pool, setName(compile.Endpoints), to)}
	dnat := []nft.Expr{nft.DNAT(to, nft.Reg(regToPort))}
	var rules [][]nft.Expr
	each := func(then ...[]nft.Expr) {
		for _, w := range t.ways() {
			rules = append(rules, w.rule(join(then...)...))
		}
	}
	if p.Sticky > 0 {
		client := nft.Reg(regClient)
		known := []nft.Expr{nft.LoadSource(client), nft.Map(client, affinity, to)}
		remember := []nft.Expr{nft.Remember(affinity, client, to, p.Sticky)}
		each(known, []nft.Expr{nft.InSet(pool, setName(compile.Members))}, remember, dnat)
		// The kernel only renews an entry, never changes it: one that leads to an
		// endpoint that is gone must go first.
		each(known, []nft.Expr{nft.NotInSet(pool, setName(compile.Members)), nft.Forget(affinity, client, to)})
		each([]nft.Expr{nft.LoadSource(client)}, random, remember, dnat)
	}
	each(random, dnat)
	if p.Endpoints > 1 {
		// The kernel looks up this chain and the endpoint one after the other. When
		// an endpoint goes in between, its number leads nowhere and the packet would
		// be refused; the first number leads somewhere as long as any does.
		each([]nft.Expr{nft.Random(1, 0, nft.Reg(regNumber)), nft.Map(pool, setName(compile.Endpoints), to)}, dnat)
	}
	return chain{&nftables.Chain{Name: p.Chain()}, rules}
}
