// Command sinawi-helper is what runs for a moment whenever a pod or a container
// starts or ends: the OCI runtime, the CNI plugin, the beginning of a pod's first
// process, and what containerd asks of a shim's file, in one file, told apart by the name it is called by and by its environment. It is
// embedded, compressed, in the sinawi binary, and is separate from it and from the
// shim so that none of the processes that a pod's start takes pays for initialising
// what it does not use.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	_ "github.com/sinawi/sinawi/internal/runtime/containerinit"
	"github.com/sinawi/sinawi/internal/runtime/leftover"
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
	case "containerd-shim-runc-v2":
		if answer, ok := leftover.Answer(os.Args, time.Now()); ok {
			_, _ = os.Stdout.Write(answer)
			return
		}
		fail(becomeShim())
	case "runc":
		os.Exit(oci.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	case pauseinit.Name:
		fail(pauseinit.Main(os.Args))
	default:
		fmt.Fprintf(os.Stderr, "%s is part of sinawi and not meant to be run by hand; see `sinawi --help`\n", os.Args[0])
		os.Exit(64)
	}
}

// becomeShim goes on as the program that lies beside this one.
func becomeShim() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the shim: %w", err)
	}
	return syscall.Exec(filepath.Join(filepath.Dir(self), "sinawi-shim"), os.Args, os.Environ())
}

// fail ends the process: what was to take its place did not.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
