// Command sinawi-helper is what runs for a moment whenever a pod or a container
// starts: the OCI runtime, the CNI plugin and the beginning of a pod's first process
// in one file, told apart by the name it is called by and by its environment. It is
// embedded, compressed, in the sinawi binary, and is separate from it and from the
// shim so that none of the processes that a pod's start takes pays for initialising
// what it does not use.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	_ "github.com/sinawi/sinawi/internal/runtime/containerinit"
	"github.com/sinawi/sinawi/internal/runtime/oci"
	"github.com/sinawi/sinawi/internal/runtime/sandbox/pauseinit"
)

// memoryLimit is where garbage is collected after all; it is hardly ever reached
// within the milliseconds that this process lives.
const memoryLimit = 64 << 20

func main() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if os.Getenv("CNI_COMMAND") != "" {
		cni.Main()
		return
	}
	switch filepath.Base(os.Args[0]) {
	case "runc":
		os.Exit(oci.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	case pauseinit.Name:
		if err := pauseinit.Main(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "%s is part of sinawi and not meant to be run by hand; see `sinawi --help`\n", os.Args[0])
		os.Exit(64)
	}
}
