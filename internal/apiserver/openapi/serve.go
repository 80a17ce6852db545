package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Source describes what was defined while the server runs.
type Source interface {
	// Paths are the group versions that the source describes, by a hash that
	// changes with the description.
	Paths() map[string]string
	// V3 describes one of them: by a document, or by a handler that has it.
	V3(path string) (*spec3.OpenAPI, http.Handler, error)
	// V2 are what is added to the v2 document; hash changes with them.
	V2() (docs []*spec.Swagger, hash string, err error)
}

// Publisher serves the documents.
type Publisher struct {
	log     *slog.Logger
	sources []Source
	merged  merged
}

// New returns a publisher of the embedded documents and what sources add.
func New(log *slog.Logger, sources ...Source) *Publisher {
	return &Publisher{log: log, sources: sources}
}

const (
	v2Path = "/openapi/v2"
	v3Path = "/openapi/v3"
)

// Handlers are the publisher's paths.
func (p *Publisher) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		v2Path:       http.HandlerFunc(p.serveV2),
		v3Path:       http.HandlerFunc(p.serveRoot),
		v3Path + "/": http.HandlerFunc(p.serveV3),
	}
}

// serveRoot tells which documents there are, and under which address each may
// be kept for ever.
func (p *Publisher) serveRoot(w http.ResponseWriter, r *http.Request) {
	root := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	built, err := index()
	if err != nil {
		p.broken(w, err)
		return
	}
	add := func(path, hash string) {
		root.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: hashed(path, hash)}
	}
	for path, hash := range built {
		if path != v2Name {
			add(path, hash)
		}
	}
	for _, s := range p.sources {
		for path, hash := range s.Paths() {
			add(path, hash)
		}
	}
	data, err := json.Marshal(root)
	if err != nil {
		p.broken(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func hashed(path, hash string) string {
	return v3Path + "/" + path + "?hash=" + url.QueryEscape(hash)
}

func (p *Publisher) serveV3(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(strings.TrimPrefix(r.URL.Path, v3Path), "/")
	f, ok := negotiate(r, v3Proto)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	built, err := index()
	if err != nil {
		p.broken(w, err)
		return
	}
	if hash, ok := built[path]; ok && path != v2Name {
		if !fresh(w, r, path, hash) {
			return
		}
		data, err := packed(path, f)
		if err != nil {
			p.broken(w, err)
			return
		}
		p.send(w, r, f.contentType(v3Proto), hash, data)
		return
	}
	for _, s := range p.sources {
		if hash, ok := s.Paths()[path]; ok {
			p.serveSource(w, r, s, path, hash, f)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (p *Publisher) serveSource(w http.ResponseWriter, r *http.Request, s Source, path, hash string, f format) {
	doc, other, err := s.V3(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.WriteHeader(http.StatusNotFound)
		return
	case err != nil:
		p.broken(w, err)
		return
	case other != nil:
		other.ServeHTTP(w, r)
		return
	}
	if !fresh(w, r, path, hash) {
		return
	}
	data, err := json.Marshal(doc)
	if err == nil && f == protobuf {
		data, err = handler3.ToV3ProtoBinary(data)
	}
	if err != nil {
		p.broken(w, err)
		return
	}
	p.send(w, r, f.contentType(v3Proto), hash, pack(data))
}

// fresh sends a client whose hash is out of date to the present one.
func fresh(w http.ResponseWriter, r *http.Request, path, hash string) bool {
	asked := r.URL.Query().Get("hash")
	if asked == "" {
		return true
	}
	if asked != hash {
		http.Redirect(w, r, hashed(path, hash), http.StatusMovedPermanently)
		return false
	}
	w.Header().Set("Cache-Control", "public, immutable")
	w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	return true
}

func (p *Publisher) serveV2(w http.ResponseWriter, r *http.Request) {
	f, ok := negotiate(r, v2Proto)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	data, hash, err := p.v2(f)
	if err != nil {
		p.broken(w, err)
		return
	}
	p.send(w, r, f.contentType(v2Proto), hash, data)
}

// send writes packed data, unpacked for clients that cannot.
func (p *Publisher) send(w http.ResponseWriter, r *http.Request, contentType, hash string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Etag", strconv.Quote(hash))
	h.Set("Vary", "Accept, Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), strconv.Quote(hash)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data) // the client has gone: nobody is left to tell
		return
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		p.broken(w, err)
		return
	}
	_, _ = io.Copy(w, unpacked) // as above
}

func (p *Publisher) broken(w http.ResponseWriter, err error) {
	p.log.Error("OpenAPI document not served", "err", err)
	http.Error(w, "the OpenAPI document could not be made", http.StatusInternalServerError)
}

func pack(data []byte) []byte {
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	_, _ = gz.Write(data) // a buffer takes everything
	_ = gz.Close()
	return out.Bytes()
}

// format is how a document is written.
type format int

const (
	asJSON format = iota
	protobuf
)

func (f format) suffix() string {
	if f == protobuf {
		return "pb"
	}
	return "json"
}

// The media types of documents in protobuf. Older clients put an @ where media
// types allow none.
const (
	v2Proto = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	v3Proto = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

func (f format) contentType(proto string) string {
	if f == protobuf {
		return proto
	}
	return "application/json"
}

func negotiate(r *http.Request, proto string) (format, bool) {
	accept := r.Header.Get("Accept")
	if accept == "" {
		accept = "*/*"
	}
	older := strings.Replace(proto, ".v1.0", "@v1.0", 1)
	for _, clause := range goautoneg.ParseAccept(accept) {
		switch clause.Type + "/" + clause.SubType {
		case "*/*", "application/*", "application/json":
			return asJSON, true
		case proto, older:
			return protobuf, true
		}
	}
	return asJSON, false
}
