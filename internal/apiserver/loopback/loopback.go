// Package loopback lets parts of this process speak to the API server by its
// ordinary REST API without a socket: requests go through the whole handler
// chain (authentication, authorization, admission, audit), only TLS and TCP
// are left out.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// Transport is an http.RoundTripper onto a handler. It is made before the
// handler exists; requests that come earlier fail.
type Transport struct{ handler atomic.Pointer[http.Handler] }

// Serve lets requests through to h.
func (t *Transport) Serve(h http.Handler) { t.handler.Store(&h) }

// RoundTrip calls the handler in a goroutine that ends with the response's
// body or the request's context. Of that context the handler sees the end and
// no values, as over a socket: a part that asks on behalf of a request has that
// request's user, audit event and warnings in its own.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	h := t.handler.Load()
	if h == nil {
		return nil, errors.New("the API server is not started yet")
	}
	ctx, end := context.WithCancelCause(context.Background())
	forget := context.AfterFunc(req.Context(), func() { end(context.Cause(req.Context())) })
	cancel := func() { forget(); end(nil) }
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	pr, pw := io.Pipe()
	w := &responseWriter{header: http.Header{}, pipe: pw, ready: make(chan struct{}), closed: make(chan bool, 1)}
	context.AfterFunc(ctx, func() {
		w.closed <- true
		pr.CloseWithError(context.Cause(ctx))
	})
	go func() {
		defer func() {
			err := error(nil)
			if p := recover(); p != nil {
				err = fmt.Errorf("API server handler: %v", p)
			}
			w.finish(err)
			_ = in.Body.Close()
		}()
		(*h).ServeHTTP(w, in)
	}()
	select {
	case <-w.ready:
	case <-ctx.Done():
		cancel()
		return nil, context.Cause(ctx)
	}
	if w.failure != nil {
		cancel()
		return nil, w.failure
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         in.Proto,
		ProtoMajor:    in.ProtoMajor,
		Header:        w.sent,
		ContentLength: -1,
		Body:          &body{PipeReader: pr, cancel: cancel},
		Request:       req,
	}, nil
}

// body ends the request when its reader is done with it.
type body struct {
	*io.PipeReader
	cancel func()
}

func (b *body) Close() error {
	err := b.PipeReader.Close()
	b.cancel()
	return err
}

type responseWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	closed chan bool

	once    sync.Once
	ready   chan struct{} // closed when the fields below are set
	status  int
	sent    http.Header
	failure error
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush sends the header; what was written has been read already.
func (w *responseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// CloseNotify tells the handler that nobody reads any more. The API server's
// streaming handlers ask for it to know that they may stream.
func (w *responseWriter) CloseNotify() <-chan bool { return w.closed }

func (w *responseWriter) finish(err error) {
	w.once.Do(func() {
		w.status, w.sent, w.failure = http.StatusOK, w.header.Clone(), err
		close(w.ready)
	})
	_ = w.pipe.CloseWithError(err) // nil means end of file
}
