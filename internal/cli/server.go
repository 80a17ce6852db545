package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/cluster"
)

// server is the role that `up --detach` starts, and that a service manager can
// start: it logs instead of showing progress.
func (a *app) server() *cobra.Command {
	var eventsFD int
	cmd := &cobra.Command{
		Use:     "server",
		Short:   a.say("Run the server and this node's agent, for service managers", "서버와 이 노드의 에이전트를 실행합니다 (서비스 관리자용)"),
		Example: "  sinawi server --data-dir /var/lib/sinawi",
		Args:    cobra.NoArgs,
	}
	flags := a.addServerFlags(cmd.Flags())
	cmd.Flags().IntVar(&eventsFD, "events-fd", 0, "descriptor to write progress to, as lines of JSON")
	cmd.Flags().Lookup("events-fd").Hidden = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		setLogging(a.Err)
		report := func(cluster.Event) {}
		if eventsFD > 0 {
			events := os.NewFile(uintptr(eventsFD), "events")
			defer events.Close()
			report = cluster.WriteEvents(events)
		}
		cfg, err := flags.config(dir)
		if err == nil {
			err = cluster.Run(cmd.Context(), cfg, report)
		}
		return err
	}
	return cmd
}
