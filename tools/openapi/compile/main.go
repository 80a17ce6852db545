// Command compile writes the OpenAPI documents of the API server's routes and
// the schemas by which applied fields are merged. It is run by tools/openapi
// with real definitions in place of package definitions.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/store"
)

func main() {
	out := flag.String("out", "", "the directory to write to")
	flag.Parse()
	if err := compile(context.Background(), *out); err != nil {
		fmt.Fprintln(os.Stderr, "compile:", err)
		os.Exit(1)
	}
}

func compile(ctx context.Context, out string) error {
	w := &documents{dir: out, index: map[string]string{}, previews: map[string]string{}}
	if err := w.clear(); err != nil {
		return err
	}
	models := map[string]*spec.Schema{}
	if err := documented(ctx, nil, func(b *docBuilder) error {
		if err := b.v2(w); err != nil {
			return err
		}
		return b.v3(w, models)
	}); err != nil {
		return err
	}
	everything := map[string]bool{"api/all": true}
	if err := documented(ctx, everything, func(b *docBuilder) error { return b.preview(w, models) }); err != nil {
		return err
	}
	if err := mergeTypes(w, models); err != nil {
		return err
	}
	return errors.Join(w.writeIndex("index.json", w.index), w.writeIndex("previews.json", w.previews))
}

// documented builds the documents of a server with these versions switched on.
func documented(ctx context.Context, runtimeConfig map[string]bool, build func(*docBuilder) error) error {
	server, stop, err := newServer(ctx, runtimeConfig)
	if err != nil {
		return err
	}
	defer stop()
	b, err := newBuilder(server)
	if err != nil {
		return err
	}
	return build(b)
}

// newServer builds a control plane whose routes are read; it never runs.
func newServer(ctx context.Context, runtimeConfig map[string]bool) (*apiserver.Server, func(), error) {
	dir, err := os.MkdirTemp("", "sinawi-openapi-")
	if err != nil {
		return nil, nil, err
	}
	db, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "store"), UnsafeNoFsync: true})
	if err != nil {
		return nil, nil, err
	}
	keys, err := pki.Open(filepath.Join(dir, "pki"), time.Now)
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server, err := controlplane.New(ctx, controlplane.Options{
		Store: db, Keys: keys, Listeners: []net.Listener{listener}, AdvertiseIP: netip.MustParseAddr("127.0.0.1"),
		RuntimeConfig: runtimeConfig,
	})
	stop := func() {
		err := errors.Join(listener.Close(), db.Close(), os.RemoveAll(dir))
		if err != nil {
			fmt.Fprintln(os.Stderr, "compile: clean up:", err)
		}
	}
	return server, stop, err
}

// documents writes compressed files, and an index of what they hold.
type documents struct {
	dir   string
	index map[string]string // name → hash
	// previews are the documents of what is served only when switched on.
	previews map[string]string // name → hash
	v2       *spec.Swagger
}

// clear removes what an earlier run left.
func (d *documents) clear() error {
	old, err := filepath.Glob(filepath.Join(d.dir, "*.gz"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

func (d *documents) write(name string, data []byte) error {
	var packed bytes.Buffer
	gz, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := gz.Write(data); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, name+".gz"), packed.Bytes(), 0o644)
}

// writeIndexed also notes the hash by which clients know a document.
func (d *documents) writeIndexed(path, name string, data []byte) error {
	d.index[path] = hash(data)
	return d.write(name, data)
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

func (d *documents) writeIndex(name string, index map[string]string) error {
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, name), append(data, '\n'), 0o644)
}
