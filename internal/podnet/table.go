package podnet

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// Priorities beside the standard ones: host ports are translated after services.
const hostPortPriority = -99

// applyTable makes the pod table's chains and rules anew in one transaction and
// keeps the elements of the host port maps, which belong to running pods.
func applyTable(n Names, o Options) error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	h := cni.HostPortsOf(n.PodTable)
	c.AddTable(h.Table)
	for _, set := range []*nftables.Set{h.Any, h.ByAddr, h.Self} {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	for _, b := range chains(n, o, h) {
		b.chain.Table = h.Table
		c.AddChain(b.chain)
		c.FlushChain(b.chain)
		for _, rule := range b.rules {
			c.AddRule(&nftables.Rule{Table: h.Table, Chain: b.chain, Exprs: nft.Rule(rule...)})
		}
	}
	return c.Flush()
}

// chain is a chain with its rules, each a list of matches and a statement.
type chain struct {
	chain *nftables.Chain
	rules [][]nft.Expr
}

func chains(n Names, o Options, h cni.HostPorts) []chain {
	lookup := [][]nft.Expr{
		// ip daddr . meta l4proto . th dport → endpoint, then without the address
		{nft.DestLocal(), nft.LoadDest(nft.Reg(0)), nft.LoadProto(nft.Reg(1)), nft.LoadDestPort(nft.Reg(2)), nft.Map(nft.Reg(0), h.ByAddr.Name, nft.Reg(4)), nft.DNAT(nft.Reg(4), nft.Reg(5))},
		{nft.DestLocal(), nft.LoadProto(nft.Reg(0)), nft.LoadDestPort(nft.Reg(1)), nft.Map(nft.Reg(0), h.Any.Name, nft.Reg(4)), nft.DNAT(nft.Reg(4), nft.Reg(5))},
	}
	gateway, loopback := ipam.Gateway(o.PodCIDR), netip.MustParsePrefix("127.0.0.0/8")
	return []chain{
		{base("hostports-in", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, hostPortPriority), lookup},
		{base("hostports-out", nftables.ChainTypeNAT, nftables.ChainHookOutput, hostPortPriority), lookup},
		{base("masquerade", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource), [][]nft.Expr{
			{nft.StatusDNAT(), nft.LoadSource(nft.Reg(0)), nft.LoadDest(nft.Reg(1)), nft.InSet(nft.Reg(0), h.Self.Name), nft.SNAT(gateway)},
			{nft.SourceIn(loopback), nft.OutToAny(n.VethPrefix), nft.SNAT(gateway)},
			{nft.SourceIn(o.PodCIDR), nft.DestNotIn(o.ClusterCIDR), nft.Masquerade()},
		}},
		// The node's own connections to 127.0.0.1 may be translated to pods, for
		// which their links admit loopback addresses: pods themselves may not use them.
		{base("loopback", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw), [][]nft.Expr{
			{nft.InFromAny(n.VethPrefix), nft.DestIn(loopback), nft.Drop()},
		}},
	}
}

func base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return &nftables.Chain{Name: name, Type: kind, Hooknum: hook, Priority: &priority}
}

// openFirewalls lets pod traffic through other programs' chains that drop by
// default, be it forwarded or for this node: an accept of ours would not overrule
// them. The rules carry the instance's comment and are plain enough for iptables
// to list.
func openFirewalls(n Names) error {
	return editFirewalls(n, func(c *nftables.Conn, chain *nftables.Chain, ours []*nftables.Rule) error {
		if len(ours) > 0 || chain.Policy == nil || *chain.Policy != nftables.ChainPolicyDrop {
			return nil
		}
		matches := []nft.Expr{nft.InFromAny(n.VethPrefix)}
		if *chain.Hooknum == *nftables.ChainHookForward {
			matches = append(matches, nft.OutToAny(n.VethPrefix))
		}
		for _, match := range matches {
			c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: nft.Rule(match, nft.Accept()), UserData: nft.Comment(n.Comment)})
		}
		return nil
	})
}

// closeFirewalls takes the rules of openFirewalls back.
func closeFirewalls(n Names) error {
	return editFirewalls(n, func(c *nftables.Conn, _ *nftables.Chain, ours []*nftables.Rule) error {
		for _, r := range ours {
			if err := c.DelRule(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// editFirewalls calls f with every foreign base chain on the forward and input
// hooks and the instance's rules in it.
func editFirewalls(n Names, f func(*nftables.Conn, *nftables.Chain, []*nftables.Rule) error) error {
	c, err := nft.Open()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	all, err := c.ListChains()
	if err != nil {
		return fmt.Errorf("list nftables chains: %w", explain(err))
	}
	for _, chain := range all {
		ip := chain.Table.Family == nftables.TableFamilyIPv4 || chain.Table.Family == nftables.TableFamilyINet
		if !ip || chain.Type != nftables.ChainTypeFilter || chain.Hooknum == nil || strings.HasPrefix(chain.Table.Name, "sinawi") {
			continue
		}
		if *chain.Hooknum != *nftables.ChainHookForward && *chain.Hooknum != *nftables.ChainHookInput {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("read rules of %s %s: %w", chain.Table.Name, chain.Name, err)
		}
		var ours []*nftables.Rule
		for _, r := range rules {
			if nft.CommentOf(r.UserData) == n.Comment {
				ours = append(ours, r)
			}
		}
		if err := f(c, chain, ours); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("let pod traffic through the host's firewall: %w", err)
	}
	return nil
}

// explain names the kernel feature whose absence an error of nftables means.
func explain(err error) error {
	if err == nil || !(errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)) {
		return err
	}
	if missing := nft.Missing(); missing != "" {
		return fmt.Errorf("the kernel lacks %s: %w", missing, err)
	}
	return err
}
