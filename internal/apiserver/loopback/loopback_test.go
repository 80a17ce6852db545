package loopback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

type key struct{}

func request(t *testing.T, ctx context.Context) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://loopback/path", nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestHandlerSeesNoValuesOfTheCaller(t *testing.T) {
	var transport Transport
	transport.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Context().Value(key{}); got != nil {
			t.Errorf("the handler sees the caller's %v", got)
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	resp, err := transport.RoundTrip(request(t, context.WithValue(t.Context(), key{}, "user")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "/path" {
		t.Errorf("answer %q, %v", body, err)
	}
}

func TestHandlerEndsWithTheCaller(t *testing.T) {
	var transport Transport
	begun, ended, leave := make(chan struct{}), make(chan error, 1), make(chan struct{})
	transport.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
		<-leave // an answer in the same moment would be as good
	}))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("gone home")
	go func() {
		<-begun
		cancel(why)
	}()
	if _, err := transport.RoundTrip(request(t, ctx)); !errors.Is(err, why) {
		t.Errorf("the caller got %v", err)
	}
	close(leave)
	select {
	case err := <-ended:
		if !errors.Is(err, why) {
			t.Errorf("the handler ended by %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the handler goes on although nobody waits for it")
	}
}
