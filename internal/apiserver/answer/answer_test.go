package answer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

const limit = time.Second

// watches are the only long-running requests here.
func watches(_ *http.Request, info *apirequest.RequestInfo) bool { return info.Verb == "watch" }

// ask lets handler answer a request that has a second for it, or no end at all.
func ask(t *testing.T, verb string, handler http.HandlerFunc) (answer *httptest.ResponseRecorder, panicked any) {
	ctx := apirequest.WithRequestInfo(t.Context(), &apirequest.RequestInfo{Verb: verb})
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer = httptest.NewRecorder()
	answer.Header().Set("Audit-Id", "a")
	defer func() { panicked = recover() }()
	Carry(handler, Options{LongRunning: watches}).ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api", nil))
	return answer, nil
}

func TestInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, panicked := ask(t, "get", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(limit / 2)
			w.Header().Set("Warning", "b")
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "tea")
		})
		if panicked != nil || answer.Code != http.StatusTeapot || answer.Body.String() != "tea" {
			t.Errorf("got %d %s, panic %v", answer.Code, answer.Body, panicked)
		}
		if answer.Header().Get("Warning") != "b" || answer.Header().Get("Audit-Id") != "a" {
			t.Errorf("headers %v", answer.Header())
		}
	})
}

func TestHeaderAlone(t *testing.T) {
	answer, _ := ask(t, "get", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Warning", "b") })
	if answer.Code != http.StatusOK || answer.Header().Get("Warning") != "b" {
		t.Errorf("got %d, headers %v", answer.Code, answer.Header())
	}
}

func TestTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		answer, panicked := ask(t, "get", func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			if took := time.Since(began); took != limit {
				t.Errorf("the time was over after %s", took)
			}
			synctest.Wait()
			w.Header().Set("Warning", "b")
			w.WriteHeader(http.StatusOK)
			if _, err := io.WriteString(w, "tea"); !errors.Is(err, http.ErrHandlerTimeout) {
				t.Errorf("a late write: %v", err)
			}
		})
		var status metav1.Status
		if err := json.Unmarshal(answer.Body.Bytes(), &status); err != nil {
			t.Fatal(err)
		}
		if panicked != nil || answer.Code != http.StatusGatewayTimeout || status.Reason != metav1.StatusReasonTimeout || status.Kind != "Status" {
			t.Errorf("got %d %s, panic %v", answer.Code, answer.Body, panicked)
		}
		if answer.Header().Get("Warning") != "" || !answer.Flushed {
			t.Errorf("headers %v, flushed %v", answer.Header(), answer.Flushed)
		}
	})
}

func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, panicked := ask(t, "list", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half ")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			synctest.Wait()
			if _, err := io.WriteString(w, "and the rest"); !errors.Is(err, http.ErrHandlerTimeout) {
				t.Errorf("a late write: %v", err)
			}
		})
		if panicked != http.ErrAbortHandler || answer.Body.String() != "half " {
			t.Errorf("got %s, panic %v", answer.Body, panicked)
		}
	})
}

// TestOwnError has the handler itself say that its time is over.
func TestOwnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, panicked := ask(t, "get", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "sorry")
			<-r.Context().Done()
		})
		if panicked != nil || answer.Code != http.StatusServiceUnavailable || answer.Body.String() != "sorry" {
			t.Errorf("got %d %s, panic %v", answer.Code, answer.Body, panicked)
		}
	})
}

func TestLongRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, _ := ask(t, "watch", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * limit)
			io.WriteString(w, "still here")
		})
		if answer.Code != http.StatusOK || answer.Body.String() != "still here" {
			t.Errorf("got %d %s", answer.Code, answer.Body)
		}
	})
}

func TestPanic(t *testing.T) {
	_, panicked := ask(t, "get", func(http.ResponseWriter, *http.Request) { panic("no tea") })
	if panicked != "no tea" {
		t.Errorf("panic %v", panicked)
	}
}

// slow is an answer whose reader needs a while for each piece.
type slow struct {
	http.ResponseWriter
	took time.Duration
}

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(s.took)
	return s.ResponseWriter.Write(p)
}

// TestByTurns makes large answers beside each other, of which one has a slow reader.
func TestByTurns(t *testing.T) {
	const pieces, answers, turns = 10, 5, 2
	const work, reading = time.Millisecond, 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		working, most := 0, 0
		handler := Carry(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for i := range pieces {
				if _, err := w.Write(make([]byte, piece)); err != nil {
					t.Error(err)
				}
				if i == 0 {
					continue // the first piece is anyone's
				}
				mu.Lock()
				working++
				most = max(most, working)
				mu.Unlock()
				time.Sleep(work)
				mu.Lock()
				working--
				mu.Unlock()
			}
		}), Options{LongRunning: watches, Turns: turns})
		began := time.Now()
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() {
				ctx := apirequest.WithRequestInfo(t.Context(), &apirequest.RequestInfo{Verb: "list"})
				recorder := httptest.NewRecorder()
				var w http.ResponseWriter = recorder
				want := time.Duration(pieces*answers) * work / turns
				if i == 0 {
					w, want = slow{recorder, reading}, pieces*(reading+answers*work)
				}
				handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api", nil))
				if took := time.Since(began); recorder.Body.Len() != pieces*piece || took > want {
					t.Errorf("answer %d has %d bytes after %s, want %d after %s", i, recorder.Body.Len(), took, pieces*piece, want)
				}
			})
		}
		group.Wait()
		if most != turns {
			t.Errorf("%d answers were worked on at a time, want %d", most, turns)
		}
	})
}

// TestFirstComeFirstServed makes large answers beside each other: one after the other
// ends, not all of them at the end.
func TestFirstComeFirstServed(t *testing.T) {
	const pieces, answers = 10, 5
	const work = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		handler := Carry(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, piece))
			for range pieces {
				if _, err := w.Write(make([]byte, piece)); err != nil {
					t.Error(err)
				}
				time.Sleep(work)
			}
		}), Options{LongRunning: watches, Turns: 1})
		began := time.Now()
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() {
				ctx := apirequest.WithRequestInfo(t.Context(), &apirequest.RequestInfo{Verb: "list"})
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/api", nil))
				// While a piece is on its way, one of the next answer is made.
				if took, most := time.Since(began), time.Duration((i+2)*pieces)*work; took > most {
					t.Errorf("answer %d after %s, want at most %s", i, took, most)
				}
			})
			synctest.Wait() // the order in which they come
		}
		group.Wait()
	})
}

// TestNoTurnInTime ends while it waits for its turn.
func TestNoTurnInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := newLine(1)
		if err := line.await(new(place), nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		out := &writer{to: httptest.NewRecorder(), header: http.Header{}, ended: ctx.Done(), line: line}
		if _, err := out.Write(make([]byte, piece)); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("more")); !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("got %v", err)
		}
		out.end()
		if line.free != 0 || len(line.waiting) != 0 {
			t.Error("it gave up a turn that it did not have")
		}
	})
}

// wire serves handler over HTTP/1 or 2 with so much time for each request.
func wire(t *testing.T, protocol int, time time.Duration, handler http.HandlerFunc) *httptest.Server {
	carried := Carry(handler, Options{LongRunning: watches})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{Verb: "get"}), time)
		defer cancel()
		carried.ServeHTTP(w, r.WithContext(ctx))
	}))
	server.EnableHTTP2 = protocol == 2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func protocols(t *testing.T, test func(*testing.T, int)) {
	for _, protocol := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", protocol), func(t *testing.T) { test(t, protocol) })
	}
}

// TestOverTheWire wants an answer that is cut off to reach the client as an error.
func TestOverTheWire(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		server := wire(t, protocol, 300*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/half") {
				io.WriteString(w, "half ")
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		for path, want := range map[string]struct {
			code  int
			whole bool
		}{
			"/none": {http.StatusGatewayTimeout, true},
			"/half": {http.StatusOK, false},
		} {
			response, err := server.Client().Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
			if response.ProtoMajor != protocol || response.StatusCode != want.code || (err == nil) != want.whole {
				t.Errorf("%s: %s %s, %v", path, response.Proto, response.Status, err)
			}
		}
	})
}

// TestNextRequest asks again after a request whose time was over.
func TestNextRequest(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		server := wire(t, protocol, 100*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/late" {
				<-r.Context().Done()
			}
		})
		for range 5 {
			for path, want := range map[string]int{"/late": http.StatusGatewayTimeout, "/": http.StatusOK} {
				response, err := server.Client().Get(server.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != want {
					t.Errorf("%s: %s, %v, want %d", path, response.Status, err, want)
				}
			}
		}
	})
}

// TestSlowSender sends half of its request and then nothing: the handler must not wait
// for the rest.
func TestSlowSender(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		read := make(chan error, 1)
		server := wire(t, protocol, 50*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			read <- err
		})
		body, send := io.Pipe()
		defer send.Close()
		go io.WriteString(send, "half ")
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
			if err != nil {
				t.Error(err)
				return
			}
			if response, err := server.Client().Do(request); err == nil {
				response.Body.Close()
			}
		}()
		select {
		case err := <-read:
			if err == nil {
				t.Error("half a request was taken for the whole")
			}
		case <-time.After(time.Minute):
			t.Fatal("the handler waits for the rest")
		}
		send.Close()
		<-answered
	})
}

// TestSlowReader asks and reads nothing.
func TestSlowReader(t *testing.T) {
	protocols(t, func(t *testing.T, protocol int) {
		wrote := make(chan error, 1)
		server := wire(t, protocol, 50*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, piece)); err != nil {
					wrote <- err
					return
				}
			}
		})
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		select {
		case <-wrote:
		case <-time.After(time.Minute):
			t.Fatal("the handler waits for its reader")
		}
	})
}
