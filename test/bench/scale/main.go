// Command scale measures the control plane with simulated nodes (lab/hollow)
// and prints one table: pods bound a second through the API, what requests take
// meanwhile, what the server takes of memory and CPU, and scheduling alone in
// the shapes that upstream's scheduler_perf has. The server is a process of its
// own, the nodes and all clients are in this one, on the same machine. Nothing
// here passes or fails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sinawi/sinawi/test/bench/figures"
)

// options are the flags.
type options struct {
	program     string
	nodes, pods int
	deployments int
	creators    int
	lease, idle time.Duration
	limit       time.Duration
	parts       string
	shapeNodes  int
	shapePods   int
	only        string
	profile     string
	still       bool
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/sinawi", "the binary to measure")
	flag.IntVar(&o.nodes, "nodes", 1000, "simulated nodes")
	flag.IntVar(&o.pods, "pods", 10000, "pods of each measurement")
	flag.IntVar(&o.deployments, "deployments", 10, "over how many deployments the pods are spread, after one that has them all")
	flag.IntVar(&o.creators, "creators", 32, "requests under way at once that create bare pods")
	flag.DurationVar(&o.lease, "lease", 10*time.Second, "between two heartbeats of a node")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "how long to watch the server with nodes and no pods")
	flag.DurationVar(&o.limit, "limit", time.Hour, "end after this time")
	flag.StringVar(&o.parts, "parts", "workloads,shapes", "what to measure")
	flag.IntVar(&o.shapeNodes, "shape-nodes", 5000, "nodes of the scheduler's shapes")
	flag.IntVar(&o.shapePods, "shape-pods", 1000, "measured pods of each shape")
	flag.StringVar(&o.only, "shape", "", "measure this shape alone")
	flag.StringVar(&o.profile, "profile", "", "directory to write CPU and heap profiles of the server to, made if it is not there")
	flag.BoolVar(&o.still, "still", false, "leave pods as they are once bound: the nodes never say that they run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return fmt.Errorf("where profiles go: %w", err)
		}
	}
	t := figures.Table{Told: func(what, measured string) { progress("%s: %s", what, measured) }}
	var err error
	if part(o, "workloads") {
		err = workloads(ctx, o, &t)
	}
	if err == nil && part(o, "shapes") {
		err = shapes(ctx, o, &t)
	}
	// What was measured before something went wrong is worth seeing.
	return errors.Join(err, t.Write(os.Stdout))
}

func part(o options, name string) bool { return slices.Contains(strings.Split(o.parts, ","), name) }

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" ...\n", args...) }
