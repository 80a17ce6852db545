package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"time"
)

// linger is how long the server goes on after it was told to end.
const linger = 200 * time.Millisecond

// answer is what every request gets.
type answer struct {
	Pod      string `json:"pod"`
	Version  string `json:"version,omitempty"`
	Greeting string `json:"greeting,omitempty"`
}

// serve answers on port 8080 until ctx ends. POD_NAME, DEMO_VERSION and GREETING
// are what it answers; with TOKEN it answers only those who know it.
func serve(ctx context.Context, getenv func(string) string) error {
	me := answer{Pod: getenv("POD_NAME"), Version: getenv("DEMO_VERSION"), Greeting: getenv("GREETING")}
	if me.Pod == "" {
		me.Pod, _ = os.Hostname() // empty is as good an answer
	}
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second, Handler: handler(me, getenv("TOKEN"))}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("%s %s listens on %s", me.Pod, me.Version, server.Addr)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Services lead nobody here any more, but who connected just before may still
	// wait to be accepted on a busy machine.
	time.Sleep(linger)
	finish, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(finish); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(me answer, token string) http.Handler {
	mux := http.NewServeMux()
	// Probes know no token.
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if given := r.Header.Get("Authorization"); token != "" && subtle.ConstantTimeCompare([]byte(given), []byte("Bearer "+token)) != 1 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(me); err != nil {
			log.Print(err)
		}
	})
	return mux
}
