// Command bench measures what the README names, on one real node in a network
// namespace of its own, and prints one table: start, memory, idle CPU, the time
// until a pod is ready, and requests through a service against straight to the
// pod; then what package api measures of the API server by itself. It compares
// within one run only; nothing here passes or fails.
//
//	go run ./test/bench -only api:watch,list
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/demo"
	"github.com/sinawi/sinawi/lab"
	"github.com/sinawi/sinawi/test/bench/api"
	"github.com/sinawi/sinawi/test/bench/figures"
)

// limit bounds a whole run.
const limit = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	idle := flag.Duration("idle", 10*time.Second, "how long to watch an idle node for its CPU time")
	load := flag.Duration("load", 3*time.Second, "how long to send requests each way")
	only := flag.String("only", "", "measure only node or only api; api:watch,list only these of its parts (idle, small, watch, pods, list, full, fairness)")
	flag.Parse()
	if err := run(ctx, *only, *idle, *load); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	node   *lab.Node
	client kubernetes.Interface
	table  figures.Table
	idle   time.Duration
	load   time.Duration
}

func run(ctx context.Context, only string, idle, load time.Duration) error {
	program, err := lab.FindProgram()
	if err != nil {
		return err
	}
	b := &bench{idle: idle, load: load}
	which, parts, _ := strings.Cut(only, ":")
	if which != "api" {
		if err := b.measureNode(ctx, program); err != nil {
			return err
		}
	}
	if which != "node" {
		if err := b.measureAPI(ctx, program, parts); err != nil {
			return err
		}
	}
	return b.table.Write(os.Stdout)
}

// measureAPI measures the API server in a process of its own.
func (b *bench) measureAPI(ctx context.Context, program, parts string) error {
	return api.Run(ctx, api.Options{
		Program: program, Idle: b.idle, Load: b.load, Add: b.table.Add, Say: say,
		Only: strings.FieldsFunc(parts, func(r rune) bool { return r == ',' }),
	})
}

func say(what string) { fmt.Fprintf(os.Stderr, "measuring %s ...\n", what) }

// measureNode measures a whole node.
func (b *bench) measureNode(ctx context.Context, program string) (err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := lab.New(dir, program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	if b.node, err = l.AddNode("n1"); err != nil {
		return err
	}
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"start", b.start},
		{"memory and CPU without pods", b.footprint(0)},
		{"pods one by one", b.sequential},
		{"a burst of pods", b.burst},
		{"a deployment", b.deployment},
		{"memory and CPU with 20 pods", b.footprint(pods)},
		{"requests", b.requests},
	} {
		say(part.name)
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// start measures from exec with an empty data directory.
func (b *bench) start(ctx context.Context) error {
	began := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := b.node.Up(ctx)
		ended <- err
	}()
	api, err := b.awaitAPI(ctx, began)
	if err != nil {
		return err
	}
	ready, err := b.awaitNode(ctx, began)
	if err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	b.table.Add("exec → API ready", figures.Seconds(api), "")
	b.table.Add("exec → Node Ready", figures.Seconds(ready), "≤ 2.5 s")
	return demo.ImportImage(ctx, b.node.Dir.RuntimeSocket())
}
