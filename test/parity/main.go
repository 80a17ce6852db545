package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	utilrand "k8s.io/apimachinery/pkg/util/rand"
)

func main() {
	reference := flag.String("reference", "", "kubeconfig of the server that is right (needed)")
	checked := flag.String("checked", os.Getenv("KUBECONFIG"), "kubeconfig of the server to check")
	only := flag.String("kinds", "", "compare these resources alone, as pods,services")
	count := flag.Int("count", 50, "generated requests of each sort for each kind")
	seed := flag.Uint64("seed", 1, "the same one sends the same requests")
	format := flag.String("o", "table", "how differences are printed: table or json")
	limit := flag.Duration("limit", time.Hour, "end after this time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	print, err := printer(*format)
	var found *report
	if err == nil {
		found, err = check(ctx, options{*reference, *checked, *only, *count, *seed}, os.Stderr)
	}
	if found != nil {
		err = errors.Join(err, print(os.Stdout, found))
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(2)
	case len(found.order) > 0:
		os.Exit(1)
	}
}

type options struct {
	reference, checked, kinds string
	count                     int
	seed                      uint64
}

// check compares two servers. The report tells what was found until an error.
func check(ctx context.Context, o options, progress io.Writer) (*report, error) {
	if o.reference == "" || o.checked == "" {
		return nil, errors.New("two servers are needed: give -reference and -checked a kubeconfig each (the second may be in KUBECONFIG)")
	}
	reference, err := dial(o.reference)
	if err != nil {
		return nil, err
	}
	checked, err := dial(o.checked)
	if err != nil {
		return nil, err
	}
	return parity(ctx, reference, checked, o, progress)
}

func parity(ctx context.Context, reference, checked *server, o options, progress io.Writer) (_ *report, err error) {
	seeds, err := readSeeds(seedsYAML)
	if err != nil {
		return nil, err
	}
	var wanted []string
	if o.kinds != "" {
		wanted = strings.Split(o.kinds, ",")
	}
	all, err := kinds(ctx, reference, wanted)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has none of %s to create; say them as in kubectl api-resources", reference.base, o.kinds)
	}
	samples, err := readSamples(ctx, reference, all)
	if err != nil {
		return nil, err
	}
	r := &run{
		reference: reference, checked: checked, namespace: "parity-" + utilrand.String(5), seed: o.seed, count: o.count,
		seeds: seeds, samples: samples, report: newReport(),
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.tidy(context.WithoutCancel(ctx))) }()
	for i, k := range all {
		fmt.Fprintf(progress, "%d of %d: %s, %d differences so far ...\n", i+1, len(all), k.resource, len(r.report.order))
		if err := r.kind(ctx, k); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// printer is asked for before anything is sent: a run takes minutes.
func printer(format string) (func(io.Writer, *report) error, error) {
	switch format {
	case "json":
		return printJSON, nil
	case "table":
		return printTable, nil
	}
	return nil, fmt.Errorf("-o %s is not known; table and json are", format)
}

// printJSON prints a finding a line.
func printJSON(out io.Writer, r *report) error {
	encoder := json.NewEncoder(out)
	for _, f := range r.order {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func printTable(out io.Writer, r *report) error {
	for _, f := range r.order {
		fmt.Fprintf(out, "%s %s %s (%d times)\n  reference: %s\n  checked:   %s\n", f.Operation, f.Resource, f.Path, f.Times, f.Reference, f.Checked)
	}
	_, err := fmt.Fprintf(out, "%d requests sent, %d differences\n", r.sent, len(r.order))
	return err
}
