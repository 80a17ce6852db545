// Package containerinit is the first process inside a container, before it becomes
// the container's own program. Importing it is enough, and only the helper may:
// libcontainer starts the helper again with the argument "init", C code enters the
// namespaces before Go runs, and this package takes over before main. It is the one
// place where work is done on import, because nothing else may run in that process.
package containerinit

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	// Its C constructor enters the namespaces.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init() // does not return
	}
}
