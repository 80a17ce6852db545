// Package answer carries what handlers answer: in time, in large pieces and by turns.
//
// In time: k8s.io/apiserver lets every short request be handled in a goroutine of its
// own, on a copy of it, so that another one is free to answer 504. Both cost a tenth of
// a small request, nearly always for nothing. Here the handler keeps the connection's
// goroutine, and the end of the request's context starts whoever answers in its place.
//
// In large pieces: a list is encoded object by object, and HTTP/2 hands every write
// from goroutine to goroutine, which was a third of a list's cost.
//
// By turns: encoding a large list keeps a processor busy for as long as it takes. Only
// some go on at a time, the others wait between two pieces, so that small requests find
// a processor and large lists share what is left, the first to come first. Whoever reads
// slowly holds up nobody: a piece on its way takes no turn.
package answer

import (
	"context"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/endpoints/metrics"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// Options of a carrier.
type Options struct {
	// LongRunning are requests that have all the time they want. They are not touched.
	LongRunning apirequest.LongRunningRequestCheck
	// Turns is how many large answers are made at a time, at least one.
	Turns int
}

// Carry carries the answers of next.
//
// A request that is not answered by the end of its context, which
// [k8s.io/apiserver/pkg/endpoints/filters.WithRequestDeadline] sets, is answered with
// 504. What next writes later is refused with [http.ErrHandlerTimeout]. If it was in the
// middle of its answer, the answer is cut off, unless it is an error that can still be
// sent whole: nobody shall take the part for the whole.
func Carry(next http.Handler, o Options) http.Handler {
	line := newLine(o.Turns)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := apirequest.RequestInfoFrom(ctx)
		if !ok || o.LongRunning(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		out := &writer{to: w, header: w.Header().Clone(), ended: ctx.Done(), line: line, alone: r.ProtoMajor < 2}
		expire := sync.OnceFunc(func() {
			if out.expire() {
				metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, http.StatusGatewayTimeout)
			}
		})
		stop := context.AfterFunc(ctx, expire)
		defer out.end()
		defer stop()
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(out), r)
		stop()
		if ctx.Err() != nil {
			expire() // the handler may have returned because of it, and sooner
		}
		if out.cut() {
			panic(http.ErrAbortHandler)
		}
	})
}
