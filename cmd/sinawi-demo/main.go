// Command sinawi-demo is the web server that `sinawi demo` runs in containers.
// It answers every request with who it is, so that a viewer sees how requests
// spread, and it ends the way a good container does: on SIGTERM it finishes
// what it has begun.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// answer is what every request gets.
type answer struct {
	Pod     string `json:"pod"`
	Version string `json:"version"`
}

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	me := answer{Pod: os.Getenv("POD_NAME"), Version: os.Getenv("DEMO_VERSION")}
	if me.Pod == "" {
		me.Pod, _ = os.Hostname() // empty is as good an answer
	}
	server := &http.Server{
		Addr:              ":8080",
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(me); err != nil {
				log.Print(err)
			}
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("%s (%s) listens on %s", me.Pod, me.Version, server.Addr)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	finish, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(finish); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
