package image

import (
	"io"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
)

// decompress undoes gzip or zstd, seen by their first bytes.
func decompress(r io.Reader) (io.ReadCloser, error) {
	return compression.DecompressStream(r)
}
