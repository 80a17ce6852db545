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
	server, stop, err := newServer(ctx)
	if err != nil {
		return err
	}
	defer stop()
	b, err := newBuilder(server)
	if err != nil {
		return err
	}
	w := &documents{dir: out, index: map[string]string{}}
	if err := w.clear(); err != nil {
		return err
	}
	if err := b.v2(w); err != nil {
		return err
	}
	models, err := b.v3(w)
	if err != nil {
		return err
	}
	if err := mergeTypes(w, models); err != nil {
		return err
	}
	return w.writeIndex()
}

// newServer builds a control plane whose routes are read; it never runs.
func newServer(ctx context.Context) (*apiserver.Server, func(), error) {
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
	sum := sha256.Sum256(data)
	d.index[path] = hex.EncodeToString(sum[:16])
	return d.write(name, data)
}

func (d *documents) writeIndex() error {
	data, err := json.MarshalIndent(d.index, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "index.json"), append(data, '\n'), 0o644)
}
