// Command sinawi-shim is the process that stays beside the containers of a node: their
// parent, the holder of their streams, the witness of their end. It is embedded,
// compressed, in the sinawi binary. The programs that run once for each container are
// in sinawi-helper, so that they do not pay for initialising what a shim needs.
package main

import (
	"context"

	"github.com/sinawi/sinawi/internal/runtime/shim"
)

func main() { shim.Main(context.Background()) }
