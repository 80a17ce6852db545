// Command sinawi-demo is what `sinawi demo` and the example application run in
// containers: a web server that answers every request with who it is, so that
// a viewer sees how requests spread, and a client that asks one. Both end the
// way a good container does: on SIGTERM they finish what they have begun.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log.SetFlags(0)
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return serve(ctx, os.Getenv)
	}
	if args[0] != "fetch" {
		return fmt.Errorf("unknown command %q: give none to serve, or fetch URL", args[0])
	}
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	times := flags.Int("times", 1, "how many answers to get; 0 goes on until it is told to end")
	every := flags.Duration("every", time.Second, "pause between two requests")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("fetch needs one URL, for example: fetch -times 3 http://web/")
	}
	return fetch(ctx, flags.Arg(0), os.Getenv("TOKEN"), *times, *every)
}
