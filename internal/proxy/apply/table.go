package apply

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/nft"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// Options describe the node's network to the table.
type Options struct {
	// Table is the nftables table's name, the instance's own.
	Table string
	// ClusterCIDR has all pods, ServiceCIDR all service addresses.
	ClusterCIDR, ServiceCIDR netip.Prefix
	// Gateway is this node's address among its pods, PodLinks how the names of
	// the node's ends of their links begin.
	Gateway  netip.Addr
	PodLinks string
	// Mark is the bit of the packet mark for connections whose source is
	// translated; 0 is DefaultMark.
	Mark uint32
}

// DefaultMark is the bit that kube-proxy uses for the same.
const DefaultMark = 0x4000

// Table is the kernel's table. It is for one goroutine.
type Table struct {
	o        Options
	table    *nftables.Table
	conn     *nftables.Conn
	sets     [compile.Sets]*nftables.Set
	affinity *nftables.Set
	picks    map[string]bool
}

// Open connects to the kernel and changes nothing.
func Open(o Options) (*Table, error) {
	if o.Mark == 0 {
		o.Mark = DefaultMark
	}
	conn, err := nft.Open()
	if err != nil {
		return nil, fmt.Errorf("connect to nftables: %w", err)
	}
	t := &Table{o: o, conn: conn, table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: o.Table}, picks: map[string]bool{}}
	t.makeSets()
	return t, nil
}

// Close leaves the table as it is.
func (t *Table) Close() error { return t.conn.CloseLasting() }

// Sync makes the table hold exactly the elements, whatever is there.
func (t *Table) Sync(want []compile.Element) error {
	have, err := t.read()
	if err == nil {
		err = t.sync(have, want)
	}
	if err == nil {
		return nil
	}
	// What is there is not ours, or of an older build: replace it at one blow.
	t.conn.AddTable(t.table)
	t.conn.DelTable(t.table)
	if err := t.sync(nil, want); err != nil {
		if missing := nft.Missing(); missing != "" {
			return fmt.Errorf("set up nftables table %s: the kernel lacks %s: %w", t.o.Table, missing, err)
		}
		return fmt.Errorf("set up nftables table %s: %w", t.o.Table, err)
	}
	return nil
}

func (t *Table) sync(have, want []compile.Element) error {
	t.conn.AddTable(t.table)
	for _, s := range append(t.sets[:], t.affinity) {
		if err := t.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	// Chains may jump to each other: all are there before the first rule.
	chains := t.chains()
	t.picks = map[string]bool{}
	for _, e := range want {
		if p, ok := compile.ParsePick(e.Value); e.Set == compile.Picks && ok && !t.picks[e.Value] {
			t.picks[e.Value] = true
			chains = append(chains, t.pick(p))
		}
	}
	t.addChains(chains)
	d := compile.Compare(have, want)
	if err := t.elements(d); err != nil {
		return err
	}
	old := map[string]bool{}
	for _, e := range have {
		if name := e.Value; e.Set == compile.Picks && !t.picks[name] && !old[name] {
			old[name] = true
			c := &nftables.Chain{Table: t.table, Name: name}
			t.conn.FlushChain(c)
			t.conn.DelChain(c)
		}
	}
	return t.conn.Flush()
}

func (t *Table) addChains(chains []chain) {
	for _, c := range chains {
		c.Table = t.table
		t.conn.AddChain(c.Chain)
		t.conn.FlushChain(c.Chain)
	}
	for _, c := range chains {
		for _, r := range c.rules {
			t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c.Chain, Exprs: nft.Rule(r...)})
		}
	}
}

// Apply changes what the delta names, in one transaction. After an error the
// table is as it was; only Sync then knows what to do.
func (t *Table) Apply(d compile.Delta) error {
	var chains []chain
	for _, e := range d.Add {
		if p, ok := compile.ParsePick(e.Value); e.Set == compile.Picks && ok && !t.picks[e.Value] {
			t.picks[e.Value] = true
			chains = append(chains, t.pick(p))
		}
	}
	t.addChains(chains)
	if err := t.elements(d); err != nil {
		return err
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("change nftables table %s: %w", t.o.Table, err)
	}
	return nil
}

// perMessage bounds the elements of one message; its length is a 16-bit number.
const perMessage = 256

func (t *Table) elements(d compile.Delta) error {
	if err := t.inMessages(d.Delete, func(s *nftables.Set, e []nftables.SetElement) error {
		for i := range e {
			e[i].Val, e[i].VerdictData = nil, nil
		}
		return t.conn.SetDeleteElements(s, e)
	}); err != nil {
		return err
	}
	return t.inMessages(d.Add, t.conn.SetAddElements)
}

func (t *Table) inMessages(list []compile.Element, send func(*nftables.Set, []nftables.SetElement) error) error {
	for len(list) > 0 {
		set := list[0].Set
		var out []nftables.SetElement
		for len(list) > 0 && list[0].Set == set && len(out) < perMessage {
			out, list = append(out, render(list[0])), list[1:]
		}
		if err := send(t.sets[set], out); err != nil {
			return fmt.Errorf("render elements of %s: %w", setName(set), err)
		}
	}
	return nil
}

func isVerdict(s compile.Set) bool { return s == compile.Picks || s == compile.Refused }

func render(e compile.Element) nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.Key), KeyEnd: []byte(e.KeyEnd)}
	if isVerdict(e.Set) {
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Value}
	} else {
		out.Val = []byte(e.Value)
	}
	return out
}

// read returns the elements that the kernel has; none if there is no table.
func (t *Table) read() ([]compile.Element, error) {
	var out []compile.Element
	for i, s := range t.sets {
		list, err := t.conn.GetSetElements(s)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read nftables set %s: %w", s.Name, err)
		}
		for _, x := range list {
			e := compile.Element{Set: compile.Set(i), Key: string(x.Key), Value: string(x.Val)}
			if e.Set == compile.Allowed {
				e.KeyEnd = string(x.KeyEnd)
			}
			if isVerdict(e.Set) {
				e.Value = chainOf(x.Val)
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// chainOf reads a verdict's chain.
func chainOf(verdict []byte) string {
	ad, err := netlink.NewAttributeDecoder(verdict)
	if err != nil {
		return ""
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_VERDICT_CHAIN {
			return strings.TrimRight(ad.String(), "\x00")
		}
	}
	return ""
}

// Purge removes the table; an absent one is no error.
func Purge(table string) error { return nft.DeleteTable(nftables.TableFamilyIPv4, table) }
