package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sinawi/sinawi/internal/demo"
	"github.com/sinawi/sinawi/internal/instance"
)

func (a *app) demo() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: a.say("Watch an application start, heal, scale and update, with the times measured", "애플리케이션의 시작, 복구, 확장, 업데이트를 시간을 재며 보여 줍니다"),
		Long: a.say("Runs a small web application that is carried in this binary: no internet and no registry are needed. Everything it makes is removed at the end.",
			"이 바이너리에 든 작은 웹 애플리케이션을 실행합니다. 인터넷도 레지스트리도 필요 없고, 끝나면 모두 지웁니다."),
		Example: "  sinawi demo\n  sinawi demo -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, cfg, err := a.connect()
		if err != nil {
			return err
		}
		number := 0
		show := func(s demo.Stage) {
			number++
			fmt.Fprintf(a.Out, "%d. %-58s %8s\n", number, s.Title.In(a.language), s.Took.Round(time.Millisecond))
			for _, l := range s.Lines {
				fmt.Fprintf(a.Out, "      %s\n", l.In(a.language))
			}
		}
		if output != "" {
			show = func(demo.Stage) {}
		}
		result, err := demo.Run(cmd.Context(), demo.Options{Config: cfg, RuntimeSocket: dir.RuntimeSocket(), Show: show})
		if err != nil {
			return err
		}
		if output != "" {
			return a.write(output, result)
		}
		a.printf("\nNext: run your own, `sinawi kubectl apply -f app.yaml`.\n", "\n다음: 자신의 애플리케이션을 실행해 보세요. `sinawi kubectl apply -f app.yaml`\n")
		return nil
	}
	return cmd
}

// connect returns the instance and an administrator's way into its API server.
func (a *app) connect() (instance.Dir, *rest.Config, error) {
	dir, err := a.instance()
	if err != nil {
		return "", nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return "", nil, fmt.Errorf("no cluster found at %s (%w); start one with: sinawi up --detach --data-dir %s", dir, err, dir)
	}
	// A command of one user on the same machine needs no throttling of its own:
	// the server is fair by itself.
	cfg.QPS = -1
	return dir, cfg, nil
}
