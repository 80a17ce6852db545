// Package nft is the vocabulary in which Sinawi writes nftables rules: small
// functions that return the kernel's expressions, sets keyed by address,
// protocol and port, and connections with buffers for large transactions. It
// decides nothing and keeps no state.
//
// Registers: the kernel has sixteen of 32 bits. Reg(i) names the i-th; a set's
// concatenated key lies in consecutive ones, each field padded to 32 bits.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Expr is a list of expressions, one statement or match of a rule.
type Expr []expr.Any

// Rule joins parts into the expressions of one rule.
func Rule(parts ...Expr) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// Reg is the number of the i-th 32-bit register.
func Reg(i int) uint32 { return unix.NFT_REG32_00 + uint32(i) }

// bufferBytes lets one transaction carry the services of a large cluster.
const bufferBytes = 32 << 20

// Open returns a connection that lasts until CloseLasting.
func Open() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := c.SetWriteBuffer(bufferBytes); err != nil {
			return fmt.Errorf("netlink send buffer: %w", err)
		}
		if err := c.SetReadBuffer(bufferBytes); err != nil {
			return fmt.Errorf("netlink receive buffer: %w", err)
		}
		return nil
	}))
}

// DeleteTable removes a table with all that is in it; an absent one is no error.
func DeleteTable(family nftables.TableFamily, name string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(&nftables.Table{Family: family, Name: name})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", name, err)
	}
	return nil
}

// IPHeader offsets and lengths of IPv4.
const (
	saddrOffset = 12
	daddrOffset = 16
	addrLen     = 4
)

// LoadSource loads the packet's IPv4 source address.
func LoadSource(reg uint32) Expr {
	return payload(expr.PayloadBaseNetworkHeader, saddrOffset, addrLen, reg)
}

// LoadDest loads the packet's IPv4 destination address.
func LoadDest(reg uint32) Expr {
	return payload(expr.PayloadBaseNetworkHeader, daddrOffset, addrLen, reg)
}

// LoadDestPort loads the destination port of TCP, UDP or SCTP.
func LoadDestPort(reg uint32) Expr { return payload(expr.PayloadBaseTransportHeader, 2, 2, reg) }

// LoadProto loads the transport protocol's number.
func LoadProto(reg uint32) Expr { return Expr{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}} }

// LoadZero loads 0.0.0.0, which stands for "any address of this node" in keys.
func LoadZero(reg uint32) Expr {
	return Expr{&expr.Immediate{Register: reg, Data: make([]byte, 4)}}
}

func payload(base expr.PayloadBase, offset, length, reg uint32) Expr {
	return Expr{&expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: reg}}
}

// Equal matches a register against a value.
func Equal(reg uint32, value []byte) Expr {
	return Expr{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: value}}
}

// SourceIn matches packets from a prefix.
func SourceIn(p netip.Prefix) Expr { return inPrefix(LoadSource(Reg(0)), p, expr.CmpOpEq) }

// SourceNotIn matches packets from outside a prefix.
func SourceNotIn(p netip.Prefix) Expr { return inPrefix(LoadSource(Reg(0)), p, expr.CmpOpNeq) }

// DestIn matches packets to a prefix.
func DestIn(p netip.Prefix) Expr { return inPrefix(LoadDest(Reg(0)), p, expr.CmpOpEq) }

// DestNotIn matches packets to outside a prefix.
func DestNotIn(p netip.Prefix) Expr { return inPrefix(LoadDest(Reg(0)), p, expr.CmpOpNeq) }

func inPrefix(load Expr, p netip.Prefix, op expr.CmpOp) Expr {
	addr := p.Masked().Addr().As4()
	return append(load,
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: addrLen, Mask: mask(p.Bits()), Xor: make([]byte, addrLen)},
		&expr.Cmp{Op: op, Register: Reg(0), Data: addr[:]},
	)
}

func mask(bits int) []byte {
	return binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - bits))
}

// OutTo matches packets that leave by a link.
func OutTo(link string) Expr { return OutToAny(link + "\x00") }

// InFromAny matches packets that came in by a link whose name begins with prefix.
func InFromAny(prefix string) Expr {
	return Expr{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: Reg(0)}, &expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0), Data: []byte(prefix)}}
}

// OutToAny matches packets that leave by a link whose name begins with prefix.
func OutToAny(prefix string) Expr {
	return Expr{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: Reg(0)}, &expr.Cmp{Op: expr.CmpOpEq, Register: Reg(0), Data: []byte(prefix)}}
}

// DestLocal matches packets to an address of this host.
func DestLocal() Expr { return fib(expr.Fib{FlagDADDR: true}, expr.CmpOpEq) }

// SourceLocal matches packets from an address of this host.
func SourceLocal() Expr { return fib(expr.Fib{FlagSADDR: true}, expr.CmpOpEq) }

func fib(f expr.Fib, op expr.CmpOp) Expr {
	f.Register, f.ResultADDRTYPE = Reg(0), true
	return Expr{&f, &expr.Cmp{Op: op, Register: Reg(0), Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}
}

// Proto matches a transport protocol.
func Proto(p uint8) Expr { return append(LoadProto(Reg(0)), Equal(Reg(0), []byte{p})...) }

// Conntrack's state bits of packets that it makes no sense of, and of those that
// begin a connection.
const (
	ctInvalid = 1
	ctNew     = 8
)

// StateNew matches the first packet of a connection.
func StateNew() Expr { return ctState(ctNew) }

// StateInvalid matches packets that belong to no connection and begin none.
func StateInvalid() Expr { return ctState(ctInvalid) }

func ctState(bit uint32) Expr {
	return Expr{
		&expr.Ct{Key: expr.CtKeySTATE, Register: Reg(0)},
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bit), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0), Data: make([]byte, 4)},
	}
}

// ctDNAT is the conntrack status bit of a connection whose destination was translated.
const ctDNAT = 1 << 5

// StatusDNAT matches packets whose destination was translated.
func StatusDNAT() Expr {
	return Expr{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: Reg(0)},
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: binaryutil.NativeEndian.PutUint32(ctDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0), Data: make([]byte, 4)},
	}
}

// InSet matches when the registers from reg on are a key of the set.
func InSet(reg uint32, set string) Expr { return Expr{&expr.Lookup{SourceRegister: reg, SetName: set}} }

// NotInSet matches when the registers from reg on are no key of the set.
func NotInSet(reg uint32, set string) Expr {
	return Expr{&expr.Lookup{SourceRegister: reg, SetName: set, Invert: true}}
}

// Map looks the key at reg up and puts its value at dest; no match without one.
func Map(reg uint32, set string, dest uint32) Expr {
	return Expr{&expr.Lookup{SourceRegister: reg, SetName: set, DestRegister: dest, IsDestRegSet: true}}
}

// VerdictMap goes where the verdict of the key at reg says.
func VerdictMap(reg uint32, set string) Expr { return Map(reg, set, unix.NFT_REG_VERDICT) }

// Jump calls a chain.
func Jump(chain string) Expr { return Expr{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

// Return goes back to the calling chain.
func Return() Expr { return Expr{&expr.Verdict{Kind: expr.VerdictReturn}} }

// Drop discards the packet.
func Drop() Expr { return Expr{&expr.Verdict{Kind: expr.VerdictDrop}} }

// Accept lets the packet through this base chain.
func Accept() Expr { return Expr{&expr.Verdict{Kind: expr.VerdictAccept}} }

// DNAT translates the destination to the address and port in two registers.
func DNAT(addr, port uint32) Expr {
	return Expr{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: addr, RegProtoMin: port, Specified: true}}
}

// Masquerade translates the source to the address of the outgoing link.
func Masquerade() Expr { return Expr{&expr.Masq{FullyRandom: true}} }

// SNAT translates the source to an address.
func SNAT(to netip.Addr) Expr {
	return Expr{
		&expr.Immediate{Register: Reg(0), Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: Reg(0), FullyRandom: true},
	}
}

// SetMark sets bits of the packet's mark.
func SetMark(bits uint32) Expr { return changeMark(^bits, bits) }

// ClearMark clears bits of the packet's mark.
func ClearMark(bits uint32) Expr { return changeMark(^bits, 0) }

func changeMark(mask, xor uint32) Expr {
	return Expr{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg(0)},
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: binaryutil.NativeEndian.PutUint32(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: Reg(0)},
	}
}

// Marked matches packets with any of the bits in their mark.
func Marked(bits uint32) Expr {
	return Expr{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: Reg(0)},
		&expr.Bitwise{SourceRegister: Reg(0), DestRegister: Reg(0), Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: Reg(0), Data: make([]byte, 4)},
	}
}

// Random puts a random number in [offset, offset+n) at reg, in host order.
func Random(n, offset, reg uint32) Expr {
	return Expr{&expr.Numgen{Register: reg, Modulus: n, Type: unix.NFT_NG_RANDOM, Offset: offset}}
}

// Remember writes the value at data under the key at key into a dynamic map, to
// last so long; a full map ends the rule.
func Remember(set string, key, data uint32, lasting time.Duration) Expr {
	return Expr{&expr.Dynset{SrcRegKey: key, SrcRegData: data, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: lasting}}
}

// Forget deletes the key at key from a dynamic map; the kernel wants to know where
// its value would be.
func Forget(set string, key, data uint32) Expr {
	const opDelete = 2 // NFT_DYNSET_OP_DELETE
	return Expr{&expr.Dynset{SrcRegKey: key, SrcRegData: data, SetName: set, Operation: opDelete}}
}

// RejectTCP answers with a reset; it may only follow Proto(TCP).
func RejectTCP() Expr { return Expr{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// Reject answers that the port is unreachable.
func Reject() Expr {
	const portUnreachable = 3
	return Expr{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable}}
}

// Comment is a rule's user data with a comment that the nft program shows.
func Comment(text string) []byte { return userdata.AppendString(nil, userdata.TypeComment, text) }

// CommentOf reads the comment of a rule's user data, "" if there is none.
func CommentOf(data []byte) string {
	text, _ := userdata.GetString(data, userdata.TypeComment)
	return text
}
