package demand

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
)

// Identity writes down what a pod asks for: pods that ask for the same have one sum.
type Identity struct{ b []byte }

// NewIdentity returns one that is empty.
func NewIdentity() *Identity { return &Identity{b: make([]byte, 0, 512)} }

// End ends a list, so that what is in it is not taken for part of the next.
func (id *Identity) End() { id.b = append(id.b, 0xff) }

// Sum is what tells the identity from others.
func (id *Identity) Sum() (out [16]byte) {
	sum := sha256.Sum256(id.b)
	copy(out[:], sum[:])
	return out
}

// Text writes a text.
func (id *Identity) Text(s string) {
	id.b = binary.AppendUvarint(id.b, uint64(len(s)))
	id.b = append(id.b, s...)
}

// Number writes a number.
func (id *Identity) Number(n int64) { id.b = binary.AppendVarint(id.b, n) }

// JSON writes plain data.
func (id *Identity) JSON(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic("part of a pod is plain data and always encodes: " + err.Error())
	}
	id.Text(string(data))
}

// Labels writes those of the labels that are to be kept.
func (id *Identity) Labels(set map[string]string, keep func(string) bool) {
	keys := make([]string, 0, len(set))
	for k := range set {
		if keep(k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	id.Number(int64(len(keys)))
	for _, k := range keys {
		id.Text(k)
		id.Text(set[k])
	}
}

// Amounts writes amounts.
func (id *Identity) Amounts(a *Amounts) {
	id.Number(a.MilliCPU)
	id.Number(a.Memory)
	id.Number(a.Ephemeral)
	for _, name := range SortedKeys(a.Others) {
		id.Text(string(name))
		id.Number(a.Others[name])
	}
}
