package cli

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"

	_ "github.com/sinawi/sinawi/internal/cli/translation" // for its effect on kubectl's packages
	"github.com/sinawi/sinawi/internal/instance"
)

// kubectl is the real one, built in. It uses the instance's kubeconfig unless
// the user has chosen another.
func (a *app) kubectl() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              a.say("Run kubectl, built in, against this cluster", "내장된 kubectl을 이 클러스터에 실행합니다"),
		Example:            "  sinawi kubectl get pods -A\n  sinawi kubectl apply -f app.yaml",
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.chooseKubeconfig(); err != nil {
				return err
			}
			flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50).
				WithWrapConfigFn(func(cfg *rest.Config) *rest.Config { return cfg })
			kubectl := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
				PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
				Arguments:     append([]string{"kubectl"}, args...),
				ConfigFlags:   flags,
				IOStreams:     genericiooptions.IOStreams{In: a.In, Out: a.Out, ErrOut: a.Err},
			})
			kubectl.SetArgs(args)
			return kubectl.ExecuteContext(c.Context())
		},
	}
}

// chooseKubeconfig points client libraries at the instance's kubeconfig, when
// neither the environment names one nor the flag of kubectl will.
func (a *app) chooseKubeconfig() error {
	dir := a.Getenv(dataDirVariable)
	if dir == "" && a.Getenv("KUBECONFIG") != "" {
		return nil
	}
	if dir == "" {
		dir = a.dir
	}
	d, err := instance.Open(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.Kubeconfig()); err != nil {
		// kubectl's own message about its default place is the better one.
		return nil
	}
	return os.Setenv("KUBECONFIG", d.Kubeconfig())
}
