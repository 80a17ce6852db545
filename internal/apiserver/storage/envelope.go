package storage

import (
	"bytes"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// envelopes decodes what is stored as upstream's decoder does, but reads an object
// where it lies in its envelope (a runtime.Unknown) instead of copying it out
// first. What is not an object in protobuf is left to upstream's.
type envelopes struct {
	runtime.Decoder
	scheme *runtime.Scheme
	last   atomic.Pointer[label] // a resource has one, as a rule
}

// label is what an envelope says of its object.
type label struct {
	version, kind string
	gvk           schema.GroupVersionKind
}

// message is what decodes itself.
type message interface {
	runtime.Object
	Reset()
	Unmarshal([]byte) error
}

// Decode implements runtime.Decoder.
func (e *envelopes) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	version, kind, body, ok := opened(data)
	if _, unread := into.(*runtime.Unknown); !ok || unread {
		return e.Decoder.Decode(data, defaults, into)
	}
	gvk := e.named(version, kind)
	obj, err := runtime.UseOrCreateObject(e.scheme, e.scheme, gvk, into)
	if err != nil {
		return e.Decoder.Decode(data, defaults, into)
	}
	m, ok := obj.(message)
	if !ok {
		return e.Decoder.Decode(data, defaults, into)
	}
	m.Reset()
	if err := m.Unmarshal(body); err != nil {
		return nil, &gvk, err
	}
	m.GetObjectKind().SetGroupVersionKind(gvk)
	return m, &gvk, nil
}

// named is the kind that an envelope names.
func (e *envelopes) named(version, kind []byte) schema.GroupVersionKind {
	if l := e.last.Load(); l != nil && l.version == string(version) && l.kind == string(kind) {
		return l.gvk
	}
	l := &label{version: string(version), kind: string(kind)}
	l.gvk = schema.FromAPIVersionAndKind(l.version, l.kind)
	e.last.Store(l)
	return l.gvk
}

// Fields of runtime.Unknown and its TypeMeta.
const (
	fieldTypeMeta   = 1
	fieldRaw        = 2
	fieldAPIVersion = 1
	fieldKind       = 2
)

// opened is what an envelope says and holds, in place; false when it is none or
// says less than all.
func opened(data []byte) (version, kind, body []byte, ok bool) {
	data, ok = bytes.CutPrefix(data, []byte("k8s\x00"))
	if !ok {
		return nil, nil, nil, false
	}
	var meta []byte
	if meta, body, ok = pair(data, fieldTypeMeta, fieldRaw); !ok {
		return nil, nil, nil, false
	}
	version, kind, ok = pair(meta, fieldAPIVersion, fieldKind)
	return version, kind, body, ok && len(version) > 0 && len(kind) > 0
}

// pair is the content of two fields of a message that are bytes.
func pair(data []byte, a, b protowire.Number) (first, second []byte, ok bool) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil, nil, false
		}
		data = data[n:]
		if kind != protowire.BytesType {
			return nil, nil, false
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return nil, nil, false
		}
		data = data[n:]
		switch number {
		case a:
			first = value
		case b:
			second = value
		}
	}
	return first, second, first != nil && second != nil
}
