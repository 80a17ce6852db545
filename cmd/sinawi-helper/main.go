// Command sinawi-helper is the small second binary that starting a container goes
// through: containerd's shim, the OCI runtime, the CNI plugin and the start of a pod's
// first process in one file, told
// apart by the name it is called by and by its environment. It is embedded,
// compressed, in the sinawi binary, and is separate from it so that none of the
// five processes that a pod's start takes pays for initialising the big one.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	_ "github.com/sinawi/sinawi/internal/runtime/containerinit"
	"github.com/sinawi/sinawi/internal/runtime/oci"
	"github.com/sinawi/sinawi/internal/runtime/sandbox/pauseinit"
	"github.com/sinawi/sinawi/internal/runtime/shim"
)

func main() {
	if os.Getenv("CNI_COMMAND") != "" {
		cni.Main()
		return
	}
	switch filepath.Base(os.Args[0]) {
	case shim.Binary:
		shim.Main(context.Background())
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
