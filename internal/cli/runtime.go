package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/cluster"
	"github.com/sinawi/sinawi/internal/runtime"
)

// runtime is the role that holds containers. The server starts it and it
// outlives the server; people have no need to.
func (a *app) runtime() *cobra.Command {
	var readyFD int
	cmd := &cobra.Command{
		Use:     "runtime",
		Short:   a.say("Run the container runtime (the server starts it)", "컨테이너 런타임을 실행합니다 (서버가 시작합니다)"),
		Example: "  sinawi runtime --data-dir /var/lib/sinawi",
		Args:    cobra.NoArgs,
		Hidden:  true,
	}
	cmd.Flags().IntVar(&readyFD, "ready-fd", 0, "descriptor to write a line to when CRI is served")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		ready := func() {}
		if readyFD > 0 {
			// What this process starts must not keep the pipe open.
			unix.CloseOnExec(readyFD)
			pipe := os.NewFile(uintptr(readyFD), "ready")
			ready = func() {
				fmt.Fprintln(pipe, "ready")
				pipe.Close()
			}
		}
		return runtime.Serve(cmd.Context(), cluster.RuntimeConfig(dir), ready)
	}
	return cmd
}
