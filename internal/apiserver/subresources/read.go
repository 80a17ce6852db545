package subresources

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// Kubelets reads what nodes tell of themselves.
type Kubelets struct{ kubelets *kubelets }

// NewKubelets returns a reader of the nodes in a store, which trusts and is
// known by config.
func NewKubelets(nodes *rows.Store, config *tls.Config) *Kubelets {
	return &Kubelets{newKubelets(nodes, config)}
}

// Read returns what a node's kubelet API serves under path.
func (k *Kubelets) Read(ctx context.Context, node, path string) (io.ReadCloser, error) {
	at, err := k.kubelets.of(ctx, node)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.url(path, nil).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.kubelets.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // it was only read
		return nil, fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return resp.Body, nil
}
