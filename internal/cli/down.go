package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/cluster"
)

// stopGrace is how long containers get to end by themselves.
const stopGrace = 10 * time.Second

func (a *app) down() *cobra.Command {
	o := cluster.DownOptions{}
	cmd := &cobra.Command{
		Use:   "down",
		Short: a.say("Stop the cluster on this machine and everything it runs", "이 머신의 클러스터와 실행 중인 모든 것을 멈춥니다"),
		Long: a.say(
			"Stops server, agent, containers and container runtime, and removes mounts, network interfaces, nftables tables and cgroups.\nData stays and the next `sinawi up` goes on with it, unless --purge is given.",
			"서버, 에이전트, 컨테이너, 컨테이너 런타임을 멈추고 마운트, 네트워크 인터페이스, nftables 테이블, cgroup을 지웁니다.\n--purge를 주지 않으면 데이터는 남고 다음 `sinawi up`이 이어서 씁니다."),
		Example: "  sinawi down\n  sinawi down --purge",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&o.Purge, "purge", false, a.say("also remove all data: images, volumes, the cluster's objects", "이미지, 볼륨, 클러스터 오브젝트 등 모든 데이터도 지웁니다"))
	cmd.Flags().DurationVar(&o.Grace, "grace", stopGrace, a.say("how long containers may take to end", "컨테이너가 스스로 끝날 때까지 기다리는 시간"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		if err := cluster.Down(cmd.Context(), dir, o, a.showStep); err != nil {
			return err
		}
		if o.Purge {
			a.printf("\nEverything is stopped and removed.\n", "\n모두 멈추고 지웠습니다.\n")
		} else {
			a.printf("\nEverything is stopped; the data stays in %s. Start again with: sinawi up\n", "\n모두 멈췄습니다. 데이터는 %s에 남아 있습니다. 다시 시작: sinawi up\n", dir)
		}
		return nil
	}
	return cmd
}
