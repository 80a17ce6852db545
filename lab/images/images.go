// Package images makes container images for tests and a registry on loopback to pull
// them from. Nothing is fetched from anywhere: the programs are this machine's own.
//
// A registry lives as long as its test and keeps its images in memory.
package images

import (
	"archive/tar"
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// BusyBox is an image with a shell and the usual small programs. It skips the test
// where there is no static busybox to make it from.
func BusyBox(t testing.TB) image.Spec {
	t.Helper()
	return runtimetest.BusyBoxSpec(t)
}

// Login is what a registry asks for.
type Login struct{ User, Password string }

// Server is a registry on loopback, over plain HTTP.
type Server struct {
	// Host is its address, the first part of its images' names.
	Host     string
	login    *Login
	handler  http.Handler
	requests atomic.Int64
}

// Registry starts a registry on loopback and stops it when the test ends. With
// a login it serves nobody else.
func Registry(t testing.TB, login *Login) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return RegistryOn(t, listener, login)
}

// RegistryOn is Registry on a given listener, perhaps in another network
// namespace. Closing the listener is its affair.
func RegistryOn(t testing.TB, listener net.Listener, login *Login) *Server {
	t.Helper()
	s := &Server{login: login, Host: listener.Addr().String()}
	blobs := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if !s.allows(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		blobs.ServeHTTP(w, r)
	})
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.handler}}
	server.Start()
	t.Cleanup(server.Close)
	return s
}

func (s *Server) allows(r *http.Request) bool {
	if s.login == nil {
		return true
	}
	user, password, ok := r.BasicAuth()
	return ok && subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(s.login.User+"\x00"+s.login.Password)) == 1
}

// Requests is how many requests came so far.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Push builds an image and stores it under a name within the registry ("team/app:1").
// It returns the full name to pull it by.
func (s *Server) Push(t testing.TB, spec image.Spec, as string) string {
	t.Helper()
	repository, tag, ok := strings.Cut(as, ":")
	if !ok {
		t.Fatalf("push %s: no tag", as)
	}
	archive, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	files, err := untar(archive)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if hash, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			s.send(t, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest=sha256:"+hash, "application/octet-stream", data)
		}
	}
	manifest := files["blobs/sha256/"+index.Manifests[0].Digest.Encoded()]
	s.send(t, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, ocispec.MediaTypeImageManifest, manifest)
	return s.Host + "/" + as
}

func (s *Server) send(t testing.TB, method, path, mediaType string, body []byte) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, "http://"+s.Host+path, bytes.NewReader(body))
	req.Header.Set("Content-Type", mediaType)
	if s.login != nil {
		req.SetBasicAuth(s.login.User, s.login.Password)
	}
	// Not over the network: the registry may listen where this process cannot reach it.
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, req)
	if answer.Code != http.StatusCreated {
		t.Fatalf("push: %s %s: %d %s", method, path, answer.Code, answer.Body)
	}
}

// untar reads the regular files of an archive that this process made itself.
func untar(archive io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}
