// Package deadline answers a request when its time is over, whatever its handler
// does.
//
// k8s.io/apiserver lets every short request be handled in a goroutine of its own, on a
// copy of it, so that another one is free to answer 504. Both cost a tenth of a small
// request, nearly always for nothing. Here the handler keeps the connection's
// goroutine, and the end of the request's context starts whoever answers in its place.
package deadline

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// Enforce answers requests that next has not answered by the end of their context,
// which [k8s.io/apiserver/pkg/endpoints/filters.WithRequestDeadline] sets. What next
// writes later is refused with [http.ErrHandlerTimeout]. If it was in the middle of its
// answer, the answer is cut off, unless it is an error of its own: nobody shall take
// the part for the whole. Long-running requests have all the time they want.
func Enforce(next http.Handler, longRunning apirequest.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		if !ok || longRunning(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		out := &writer{to: w, header: w.Header().Clone()}
		expire := func() {
			if out.expire() {
				metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, http.StatusGatewayTimeout)
			}
		}
		stop := context.AfterFunc(r.Context(), expire)
		defer out.end()
		defer stop()
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(out), r)
		stop()
		if r.Context().Err() != nil {
			expire() // the handler may have returned because of it, and sooner
		}
		if out.cut() {
			panic(http.ErrAbortHandler)
		}
	})
}

// writer passes on what is written in time.
type writer struct {
	to http.ResponseWriter
	// header is the handler's own: it may set one while the 504 is being written.
	header http.Header

	mu sync.Mutex
	// begun is whether an answer has been begun, by the handler or in its place;
	// taken whether the handler has taken over the connection.
	begun, taken bool
	// code is the status of the handler's answer.
	code int
	// over is when nothing more may be written: the time is over, or the handler
	// has returned.
	over bool
	// half is whether the time was over in the middle of the answer.
	half bool
}

// expire answers in the handler's place, and says whether it was time to.
func (w *writer) expire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.over = true
	if w.begun || w.taken {
		w.half = w.code < http.StatusBadRequest
		return true
	}
	status := apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).ErrStatus
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.to.Header().Set("Content-Type", "application/json")
	w.to.WriteHeader(http.StatusGatewayTimeout)
	_ = json.NewEncoder(w.to).Encode(status) // nobody may be there to read it
	if flusher, ok := w.to.(http.Flusher); ok {
		flusher.Flush()
	}
	return true
}

// end is called when the handler has returned.
func (w *writer) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over && !w.taken {
		w.begin()
	}
	w.over = true
}

func (w *writer) cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.half
}

// begin gives the handler's headers to the answer, once. The caller holds mu.
func (w *writer) begin() {
	if w.begun {
		return
	}
	w.begun, w.code = true, http.StatusOK
	to := w.to.Header()
	for key, values := range w.header {
		to[key] = values
	}
}

// Header implements [http.ResponseWriter].
func (w *writer) Header() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return http.Header{}
	}
	return w.header
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.begun || w.taken {
		return
	}
	w.begin()
	w.code = code
	w.to.WriteHeader(code)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.taken:
		return 0, http.ErrHijacked
	case w.over:
		return 0, http.ErrHandlerTimeout
	}
	w.begin()
	return w.to.Write(p)
}

// Flush implements [http.Flusher]. It is called only if the answer can be flushed.
func (w *writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.begin()
	w.to.(http.Flusher).Flush()
}

// Hijack implements [http.Hijacker]. It is called only if the connection can be taken.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return nil, nil, http.ErrHandlerTimeout
	}
	conn, buffered, err := w.to.(http.Hijacker).Hijack()
	w.taken = err == nil
	return conn, buffered, err
}

// Unwrap returns the answer's own writer.
func (w *writer) Unwrap() http.ResponseWriter { return w.to }
