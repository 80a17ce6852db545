package storage

import (
	"io"

	"k8s.io/apimachinery/pkg/runtime"
)

// frugal is a codec that encodes in memory which is used again: each write encodes
// an object twice, to see whether anything has changed.
type frugal struct {
	runtime.Codec
	encoder runtime.EncoderWithAllocator
}

// sparing returns codec with such an encoder, or codec itself if its own cannot be
// told where to encode.
func sparing(codec runtime.Codec) runtime.Codec {
	if encoder, ok := codec.(runtime.EncoderWithAllocator); ok {
		return frugal{codec, encoder}
	}
	return codec
}

// Encode writes an object as it is stored.
func (f frugal) Encode(obj runtime.Object, w io.Writer) error {
	memory := runtime.AllocatorPool.Get().(*runtime.Allocator)
	defer runtime.AllocatorPool.Put(memory)
	return f.encoder.EncodeWithAllocator(obj, w, memory)
}
