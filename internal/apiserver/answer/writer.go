package answer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// piece is how much is written at once, in bytes: some of HTTP/2's frames.
const piece = 64 << 10

var buffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, piece)) }}

// writer passes on what is written in time.
type writer struct {
	to http.ResponseWriter
	// header is the handler's own: it may set one while the 504 is being written.
	header http.Header
	ended  <-chan struct{} // when the request's time is over
	line   *line
	// alone is whether the request has the connection to itself, as with HTTP/1. Where
	// reading was given up, none can follow on it.
	alone bool

	// ending is set before the handler's end takes mu.
	ending atomic.Bool

	mu sync.Mutex
	// begun is whether the handler has begun its answer, passed whether any of that is
	// on its way, taken whether the handler has taken over the connection.
	begun, passed, taken bool
	// code is the status of the handler's answer.
	code int
	// over is when nothing more may be written: the time is over, or the handler
	// has returned.
	over bool
	// half is whether the time was over in the middle of the answer.
	half bool
	// waiting is what was written and is not passed on yet; nil if there is nothing.
	waiting *bytes.Buffer
	// place is where the answer stands in line, turn whether it has one.
	place place
	turn  bool
}

// expire answers in the handler's place, and says whether it was time to. Nothing that
// the handler reads or writes keeps it waiting any longer.
func (w *writer) expire() bool {
	connection := http.NewResponseController(w.to)
	if !w.mu.TryLock() {
		if !w.ending.Load() {
			_ = connection.SetWriteDeadline(time.Now()) // whoever reads it is too slow
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.over = true
	_ = connection.SetReadDeadline(time.Now()) // as is who sends the rest of the request
	if w.alone && !w.passed {
		w.to.Header().Set("Connection", "close")
	}
	// Nobody may be there to read what is still written.
	switch {
	case w.taken, w.passed && (w.alone || w.code < http.StatusBadRequest):
		w.half = true
	case w.begun && w.code >= http.StatusBadRequest:
		_ = w.pass()
	default:
		w.refuse()
	}
	return true
}

// refuse answers that the time is over. The caller holds mu.
func (w *writer) refuse() {
	status := apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).ErrStatus
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.to.Header().Set("Content-Type", "application/json")
	w.to.WriteHeader(http.StatusGatewayTimeout)
	_ = json.NewEncoder(w.to).Encode(status)
	if flusher, ok := w.to.(http.Flusher); ok {
		flusher.Flush()
	}
}

// end is called when the handler has returned.
func (w *writer) end() {
	w.ending.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over && !w.taken {
		w.begin(http.StatusOK)
		_ = w.pass() // if it fails the connection is gone, and net/http knows
	}
	w.over = true
	w.yield()
	if w.waiting != nil {
		w.waiting.Reset()
		buffers.Put(w.waiting)
		w.waiting = nil
	}
}

func (w *writer) cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.half
}

// begin decides on the status. The caller holds mu, as of all that follow.
func (w *writer) begin(code int) {
	if !w.begun {
		w.begun, w.code = true, code
	}
}

// pass writes what waits, and what comes before it.
func (w *writer) pass() error {
	if !w.passed {
		w.passed = true
		to := w.to.Header()
		for key, values := range w.header {
			to[key] = values
		}
		if w.code != http.StatusOK || w.waiting == nil {
			w.to.WriteHeader(w.code)
		}
	}
	if w.waiting == nil || w.waiting.Len() == 0 {
		return nil
	}
	_, err := w.to.Write(w.waiting.Bytes())
	w.waiting.Reset()
	return err
}

// await takes a turn, unless the request's time is over before.
func (w *writer) await() error {
	err := w.line.await(&w.place, w.ended)
	w.turn = err == nil
	return err
}

func (w *writer) yield() {
	if w.turn {
		w.turn = false
		w.line.yield()
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
	if !w.over && !w.taken {
		w.begin(code)
	}
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
	w.begin(http.StatusOK)
	if w.waiting == nil {
		w.waiting = buffers.Get().(*bytes.Buffer)
	}
	if w.waiting.Len()+len(p) <= piece {
		return w.waiting.Write(p)
	}
	w.yield()
	if err := w.pass(); err != nil {
		return 0, err
	}
	if len(p) > piece {
		return w.to.Write(p)
	}
	if err := w.await(); err != nil {
		return 0, err
	}
	return w.waiting.Write(p)
}

// Flush implements [http.Flusher]. It is called only if the answer can be flushed.
func (w *writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.taken {
		return
	}
	w.begin(http.StatusOK)
	if w.pass() == nil {
		w.to.(http.Flusher).Flush()
	}
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
