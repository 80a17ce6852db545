package api

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sinawi/sinawi/test/bench/figures"
)

// Options of a run.
type Options struct {
	Program string        // the binary under test
	Idle    time.Duration // how long to watch an idle server for its CPU time
	Load    time.Duration // how long each rate is measured
	Pods    int           // how many pods are stored; 0 is 12,000
	// Only names the parts to measure; empty is all of them.
	Only []string
	// Add takes a row of the table, Say what is being measured now.
	Add func(what, measured, aim string)
	Say func(what string)
}

const defaultPods = 12_000

// bench is one run.
type bench struct {
	Options
	server *server
	stored int // pods
}

// Run measures all parts.
func Run(ctx context.Context, opts Options) (err error) {
	if opts.Pods == 0 {
		opts.Pods = defaultPods
	}
	b := &bench{Options: opts}
	if err := b.starts(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { b.server.remove() }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"idle", b.footprint},
		{"small", b.small},
		{"watch", b.watch},
		{"pods", b.pods},
		{"list", b.lists},
		{"full", b.footprint},
		{"fairness", b.fairness},
	} {
		if len(b.Only) > 0 && !slices.Contains(b.Only, part.name) {
			continue
		}
		b.Say("the API server, " + part.name)
		if err := part.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// starts measures from exec with an empty directory until the API is ready.
// The last server stays.
func (b *bench) starts(ctx context.Context) error {
	const times = 5
	b.Say("the API server, start")
	var took, cpu []time.Duration
	for i := range times {
		dir, err := os.MkdirTemp("", "benchapi")
		if err != nil {
			return err
		}
		s, err := start(ctx, b.Program, dir)
		if err != nil {
			return err
		}
		took, cpu = append(took, s.ready), append(cpu, s.cpu())
		if i < times-1 {
			s.remove()
		} else {
			b.server = s
		}
	}
	b.Add("server without agent: exec → API ready, p50", fmt.Sprintf("%s (%s CPU)", figures.Milliseconds(figures.Percentile(took, 50)), figures.Milliseconds(figures.Percentile(cpu, 50))), "≤ 500 ms")
	return nil
}

// settle is how long a server gets to come to rest after what was asked of it.
const settle = 6 * time.Second

func (b *bench) footprint(ctx context.Context) error {
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	aim := ""
	if b.stored == 0 {
		aim = "≤ 90 MB"
	}
	pss, anonymous := b.server.memory()
	b.Add(fmt.Sprintf("server without agent: memory (PSS), %d pods stored", b.stored),
		fmt.Sprintf("%.0f MB (%.0f anonymous)", float64(pss)/1e6, float64(anonymous)/1e6), aim)
	before, began := b.server.cpu(), time.Now()
	if err := sleep(ctx, b.Idle); err != nil {
		return err
	}
	share := float64(b.server.cpu()-before) / float64(time.Since(began)) * 100
	b.Add(fmt.Sprintf("server without agent: idle CPU, %d pods stored", b.stored), fmt.Sprintf("%.2f %% of a core", share), "")
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
