package nft

import (
	"github.com/google/nftables"
)

// feature is something of the kernel that rules need, with a rule that uses it.
type feature struct {
	name string
	kind nftables.ChainType
	hook *nftables.ChainHook
	rule []Expr
}

func features() []feature {
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	pre, post := nftables.ChainHookPrerouting, nftables.ChainHookPostrouting
	return []feature{
		{"nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4)", filter, pre, []Expr{Accept()}},
		{"connection tracking in nftables (CONFIG_NFT_CT)", filter, pre, []Expr{StateNew(), Accept()}},
		{"address translation in nftables (CONFIG_NFT_NAT)", nat, pre, []Expr{Accept()}},
		{"masquerading in nftables (CONFIG_NFT_MASQ)", nat, post, []Expr{Masquerade()}},
		{"route lookups in nftables (CONFIG_NFT_FIB_IPV4)", filter, pre, []Expr{DestLocal(), Accept()}},
		{"random numbers in nftables (CONFIG_NFT_NUMGEN)", filter, pre, []Expr{Random(2, 0, Reg(0)), Accept()}},
		{"rejecting in nftables (CONFIG_NFT_REJECT_IPV4)", filter, nftables.ChainHookForward, []Expr{Reject()}},
	}
}

// Missing names the first feature that the kernel refuses, or "". Each is tried
// in a transaction that makes and deletes a table: the kernel checks all of it
// and no packet ever meets it.
func Missing() string {
	for _, f := range features() {
		if err := try(f); err != nil {
			return f.name
		}
	}
	return ""
}

func try(f feature) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "sinawi-probe"})
	chain := c.AddChain(&nftables.Chain{Table: t, Name: "probe", Type: f.kind, Hooknum: f.hook, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: Rule(f.rule...)})
	c.DelTable(t)
	return c.Flush()
}
