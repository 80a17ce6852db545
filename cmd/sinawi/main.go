// Command sinawi is the whole orchestrator in one binary; see `sinawi --help`.
package main

import (
	"os"

	"github.com/sinawi/sinawi/internal/cli"
)

func main() {
	os.Exit(cli.Main(cli.Environment{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Args: os.Args[1:]}))
}
