package lists

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

const took, wait = time.Second, 3500 * time.Millisecond

// TestLimit asks for several at once, each of which takes a second.
func TestLimit(t *testing.T) {
	type asked struct {
		user, verb, path string
		groups           []string
		times            int
	}
	tests := []struct {
		name  string
		asked []asked
		// took is how long all of them take, refused how many get 429.
		took    time.Duration
		refused int
	}{
		{name: "as many as may", asked: []asked{{user: "a", times: 2}}, took: took},
		{name: "two after the other two", asked: []asked{{user: "a", times: 4}}, took: 2 * took},
		{name: "others do not wait", asked: []asked{{user: "a", times: 2}, {user: "b", times: 2}}, took: took},
		{name: "small lists do not wait", asked: []asked{{user: "a", times: 9, path: "/small"}}, took: took},
		{name: "gets do not wait", asked: []asked{{user: "a", times: 9, verb: "get"}}, took: took},
		{name: "nor who may do everything", asked: []asked{{user: "a", times: 9, groups: []string{user.SystemPrivilegedGroup}}}, took: took},
		{name: "too many", asked: []asked{{user: "a", times: 10}}, took: 4 * took, refused: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handler := Limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(took) }), Options{
					Large:  func(r *http.Request) bool { return r.URL.Path != "/small" },
					AtOnce: 2, Wait: wait,
				})
				began := time.Now()
				var group sync.WaitGroup
				var mu sync.Mutex
				refused := 0
				for _, a := range tt.asked {
					for range a.times {
						group.Go(func() {
							info := &apirequest.RequestInfo{Verb: a.verb}
							if a.verb == "" {
								info.Verb = "list"
							}
							ctx := apirequest.WithRequestInfo(t.Context(), info)
							ctx = apirequest.WithUser(ctx, &user.DefaultInfo{Name: a.user, Groups: a.groups})
							recorder := httptest.NewRecorder()
							handler.ServeHTTP(recorder, httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+strings.TrimPrefix(a.path, "/"), nil))
							if recorder.Code == http.StatusTooManyRequests && recorder.Header().Get("Retry-After") != "" {
								mu.Lock()
								refused++
								mu.Unlock()
							}
						})
					}
				}
				group.Wait()
				if refused != tt.refused || time.Since(began) != tt.took {
					t.Errorf("after %s with %d refused, want %s and %d", time.Since(began), refused, tt.took, tt.refused)
				}
			})
		})
	}
}

// TestNobodyIsRemembered looks at what is kept of users who have gone.
func TestNobodyIsRemembered(t *testing.T) {
	g := &gates{atOnce: 1, of: map[string]*gate{}}
	leave, ok := g.enter(t.Context(), "a")
	if !ok || len(g.of) != 1 {
		t.Fatal(ok, g.of)
	}
	leave()
	if len(g.of) != 0 {
		t.Errorf("kept: %v", g.of)
	}
}
