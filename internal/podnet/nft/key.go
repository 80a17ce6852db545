package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
)

// Key joins fields into a set's key, each padded to 32 bits.
func Key(fields ...[]byte) []byte {
	var out []byte
	for _, f := range fields {
		out = append(out, f...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

// Addr is an address as a key's field; the invalid address is 0.0.0.0.
func Addr(a netip.Addr) []byte {
	if !a.IsValid() {
		return make([]byte, addrLen)
	}
	return a.AsSlice()
}

// Port is a port as a key's field.
func Port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

// Endpoint is an address and port as a map's value.
func Endpoint(e netip.AddrPort) []byte { return Key(Addr(e.Addr()), Port(e.Port())) }

// ParseEndpoint is Endpoint's inverse.
func ParseEndpoint(b []byte) (netip.AddrPort, bool) {
	if len(b) < 6 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(b[:4])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[4:6])), ok
}

// SetType is the type of a key of several fields, or of one.
func SetType(fields ...nftables.SetDatatype) nftables.SetDatatype {
	if len(fields) == 1 {
		return fields[0]
	}
	return nftables.MustConcatSetType(fields...)
}

// NewSet describes a set of keys.
func NewSet(t *nftables.Table, name string, key ...nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{Table: t, Name: name, KeyType: SetType(key...), Concatenation: len(key) > 1}
}

// NewMap describes a map from keys to values.
func NewMap(t *nftables.Table, name string, value nftables.SetDatatype, key ...nftables.SetDatatype) *nftables.Set {
	s := NewSet(t, name, key...)
	s.IsMap, s.DataType = true, value
	return s
}
