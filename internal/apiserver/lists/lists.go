// Package lists lets each user have only some large lists made at a time.
//
// Priority and fairness charges a request for the time that it took when it is over,
// and shares out seats until then as if all took 3 ms. A user who asks for many large
// lists at once is so let in again and again before the first of them is paid for, and
// whoever asks for one small object meanwhile waits for seconds. Large lists are made
// one after the other anyway (see [github.com/sinawi/sinawi/internal/apiserver/answer]),
// so here all but some of a user's wait before they take any seat.
package lists

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// Options of a limit.
type Options struct {
	// Large says whether a list is one that counts.
	Large func(*http.Request) bool
	// AtOnce is how many of them are made for a user at a time.
	AtOnce int
	// Wait is how long one waits for that before it is refused with 429.
	Wait time.Duration
}

// Limit lets through to next what is no large list, and of each user's large lists only
// so many at a time. Users who may do everything, the group system:masters, wait for
// nobody, as in priority and fairness.
func Limit(next http.Handler, o Options) http.Handler {
	gates := &gates{atOnce: max(1, o.AtOnce), of: map[string]*gate{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := apirequest.RequestInfoFrom(ctx)
		if !ok || info.Verb != "list" || !o.Large(r) {
			next.ServeHTTP(w, r)
			return
		}
		who, ok := apirequest.UserFrom(ctx)
		if !ok || slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
			next.ServeHTTP(w, r)
			return
		}
		waiting, stop := context.WithTimeout(ctx, o.Wait)
		defer stop()
		leave, ok := gates.enter(waiting, who.GetName())
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
			return
		}
		defer leave()
		next.ServeHTTP(w, r)
	})
}

// gates has one gate for each user who is in or waits for one.
type gates struct {
	atOnce int

	mu sync.Mutex
	of map[string]*gate
}

type gate struct {
	places  chan struct{} // has an element for each who is in
	present int           // how many are in or wait; gates.mu
}

// enter returns when the user may have another one made, and what is to be called when
// it is; or !ok, when ctx is over before.
func (g *gates) enter(ctx context.Context, name string) (leave func(), ok bool) {
	g.mu.Lock()
	mine := g.of[name]
	if mine == nil {
		mine = &gate{places: make(chan struct{}, g.atOnce)}
		g.of[name] = mine
	}
	mine.present++
	g.mu.Unlock()
	select {
	case mine.places <- struct{}{}:
		return func() {
			<-mine.places
			g.gone(name, mine)
		}, true
	case <-ctx.Done():
		g.gone(name, mine)
		return nil, false
	}
}

func (g *gates) gone(name string, mine *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if mine.present--; mine.present == 0 {
		delete(g.of, name)
	}
}
