package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sinawi/sinawi/internal/cli/language"
	"github.com/sinawi/sinawi/internal/cluster"
	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/process"
)

// startTimeout is how long a detached server may take until all is ready; it
// normally takes a second or two.
const startTimeout = 2 * time.Minute

// serverFlags are the flags that describe a server, as they were given.
type serverFlags struct {
	apiPort, agentPort   int
	podCIDR, serviceCIDR string
	nodeName, nodeIP     string
	runtimeEndpoint      string
	disable              []string
	runtimeConfig        []string
	schedulerConfig      string
	guard                *guardFlags
}

func (a *app) addServerFlags(set *pflag.FlagSet) *serverFlags {
	f := &serverFlags{}
	set.IntVar(&f.apiPort, "api-port", cluster.DefaultAPIPort, a.say("port of the Kubernetes API", "쿠버네티스 API 포트"))
	set.IntVar(&f.agentPort, "agent-port", 0, a.say("port of the node's agent; 0 takes 10250, or a free one where that is taken", "노드 에이전트 포트 (0이면 10250, 사용 중이면 빈 포트)"))
	set.StringVar(&f.podCIDR, "pod-cidr", cluster.DefaultPodCIDR, a.say("addresses of pods", "파드 주소 범위"))
	set.StringVar(&f.serviceCIDR, "service-cidr", cluster.DefaultServiceCIDR, a.say("addresses of services", "서비스 주소 범위"))
	set.StringVar(&f.nodeName, "node-name", "", a.say("name of this node; the host's name if empty", "이 노드의 이름 (비우면 호스트 이름)"))
	set.StringVar(&f.nodeIP, "node-ip", "", a.say("address by which others reach this node; that of the default route if empty", "다른 노드가 이 노드에 접속할 주소 (비우면 기본 경로의 주소)"))
	set.StringVar(&f.runtimeEndpoint, "container-runtime-endpoint", "", a.say("CRI socket of another container runtime; empty uses the built-in one", "다른 컨테이너 런타임의 CRI 소켓 (비우면 내장 런타임)"))
	set.StringSliceVar(&f.disable, "disable", nil, a.say("parts not to start: scheduler, controllers, agent", "시작하지 않을 부분: scheduler, controllers, agent"))
	set.StringSliceVar(&f.runtimeConfig, "runtime-config", nil, a.say(
		"API versions to switch on or off, like api/beta=true or resource.k8s.io/v1beta1=true,coordination.k8s.io/v1beta1/leasecandidates=true",
		"켜거나 끌 API 버전 (예: api/beta=true 또는 resource.k8s.io/v1beta1=true,coordination.k8s.io/v1beta1/leasecandidates=true)"))
	set.StringVar(&f.schedulerConfig, "scheduler-config", "", a.say(
		"KubeSchedulerConfiguration file: profiles and their plugins, like /etc/sinawi/scheduler.yaml; kube-scheduler's defaults if empty",
		"KubeSchedulerConfiguration 파일: 프로필과 플러그인 (예: /etc/sinawi/scheduler.yaml). 비우면 kube-scheduler의 기본값"))
	f.guard = a.addGuardFlags(set)
	return f
}

func (f *serverFlags) config(dir instance.Dir) (cluster.Config, error) {
	cfg := cluster.Config{
		Dir: dir, APIPort: f.apiPort, AgentPort: f.agentPort, NodeName: f.nodeName,
		RuntimeEndpoint: f.runtimeEndpoint, Disable: f.disable,
	}
	var err error
	if cfg.PodCIDR, err = netip.ParsePrefix(f.podCIDR); err != nil {
		return cfg, fmt.Errorf("--pod-cidr %q is no address range like %s", f.podCIDR, cluster.DefaultPodCIDR)
	}
	if cfg.ServiceCIDR, err = netip.ParsePrefix(f.serviceCIDR); err != nil {
		return cfg, fmt.Errorf("--service-cidr %q is no address range like %s", f.serviceCIDR, cluster.DefaultServiceCIDR)
	}
	if f.nodeIP != "" {
		if cfg.NodeIP, err = netip.ParseAddr(f.nodeIP); err != nil {
			return cfg, fmt.Errorf("--node-ip %q is no IP address", f.nodeIP)
		}
	}
	if f.schedulerConfig != "" {
		// By its full path: a detached server may run elsewhere.
		if f.schedulerConfig, err = filepath.Abs(f.schedulerConfig); err != nil {
			return cfg, fmt.Errorf("--scheduler-config: %w", err)
		}
		cfg.SchedulerConfig = f.schedulerConfig
	}
	if cfg.RuntimeConfig, err = switches(f.runtimeConfig); err != nil {
		return cfg, err
	}
	if cfg.Guard, err = f.guard.guard(); err != nil {
		return cfg, err
	}
	return cfg, cfg.Complete()
}

// switches reads key=true and key=false; a key alone switches on.
func switches(list []string) (map[string]bool, error) {
	config := map[string]bool{}
	for _, text := range list {
		key, value, given := strings.Cut(text, "=")
		on, err := strconv.ParseBool(value)
		if !given {
			on, err = true, nil
		}
		if err != nil || key == "" {
			return nil, fmt.Errorf("--runtime-config %q: give an API and true or false, like resource.k8s.io/v1beta1=true", text)
		}
		config[key] = on
	}
	return config, nil
}

func (a *app) up() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: a.say("Bring up a cluster on this machine", "이 머신에서 클러스터를 시작합니다"),
		Long: a.say(
			"Brings up server, agent and container runtime on this machine and writes a kubeconfig.\nWithout --detach it stays in the foreground; Ctrl-C then stops the control plane, and containers keep running until `sinawi down`.",
			"이 머신에서 서버, 에이전트, 컨테이너 런타임을 시작하고 kubeconfig를 씁니다.\n--detach가 없으면 터미널에 머무르며, Ctrl-C는 제어부만 멈추고 컨테이너는 `sinawi down`까지 계속 실행됩니다."),
		Example: "  sinawi up --detach\n  sinawi up --data-dir /srv/second --api-port 7443 --pod-cidr 10.52.0.0/16 --service-cidr 10.53.0.0/16 --detach\n  sinawi up --runtime-config=api/beta=true,apps/v1/controllerrevisions=false --detach",
		Args:    cobra.NoArgs,
	}
	flags := a.addServerFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, a.say("return when the cluster is ready and leave it running", "클러스터가 준비되면 돌아오고 계속 실행합니다"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		cfg, err := flags.config(dir)
		if err != nil {
			return err
		}
		if err := cluster.CheckNotRunning(dir); err != nil {
			return err
		}
		if err := a.refuse(cmd.Context(), cfg); err != nil {
			return err
		}
		if detach {
			return a.upDetached(cmd.Context(), cfg, cmd.Flags())
		}
		log, err := openServerLog(dir)
		if err != nil {
			return err
		}
		defer log.Close()
		setLogging(log)
		return cluster.Run(cmd.Context(), cfg, func(e cluster.Event) {
			a.showStep(e)
			if e.Step == cluster.StepReady && e.Error == "" {
				a.showNext(cfg)
			}
		})
	}
	return cmd
}

// upDetached starts the server as a process of its own and shows its progress
// until it is ready.
func (a *app) upDetached(ctx context.Context, cfg cluster.Config, flags *pflag.FlagSet) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's own file: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir.Logs(), 0o750); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	args := []string{"server", "--events-fd=3"}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "detach" && f.Name != "data-dir" {
			args = append(args, "--"+f.Name+"="+strings.Trim(f.Value.String(), "[]"))
		}
	})
	args = append(args, "--data-dir="+string(cfg.Dir))
	logSize := process.LogSize(cfg.Dir.ServerLog())
	_, done, err := process.Start(cfg.Dir.ServerLog(), []*os.File{w}, exe, args...)
	w.Close()
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return fmt.Errorf("wait for the server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e cluster.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("read the server's progress: %w", err)
		}
		a.showStep(e)
		switch {
		case e.Step == cluster.StepReady && e.Error == "":
			a.showNext(cfg)
			return nil
		case e.Error != "":
			return fmt.Errorf("%s", e.Error)
		}
	}
	select {
	case <-done:
		return fmt.Errorf("the server ended while starting; the end of %s:\n%s", cfg.Dir.ServerLog(), tail(cfg.Dir.ServerLog(), logSize))
	case <-time.After(time.Second):
		return fmt.Errorf("the server was not ready in time; it is still running: see `sinawi status` and %s", cfg.Dir.ServerLog())
	}
}

// stepNames are what people read for each step.
var stepNames = map[cluster.Step]language.Text{
	cluster.StepData:         {EN: "data directory", KO: "데이터 디렉터리"},
	cluster.StepCertificates: {EN: "certificates", KO: "인증서"},
	cluster.StepRuntime:      {EN: "container runtime", KO: "컨테이너 런타임"},
	cluster.StepStore:        {EN: "store", KO: "저장소"},
	cluster.StepAPI:          {EN: "Kubernetes API", KO: "쿠버네티스 API"},
	cluster.StepControllers:  {EN: "scheduler, controllers", KO: "스케줄러와 컨트롤러"},
	cluster.StepNetwork:      {EN: "network", KO: "네트워크"},
	cluster.StepNode:         {EN: "node ready", KO: "노드 준비"},
	cluster.StepReady:        {EN: "ready", KO: "준비 완료"},

	cluster.StepStopServer:     {EN: "server stopped", KO: "서버 중지"},
	cluster.StepStopContainers: {EN: "containers and runtime stopped", KO: "컨테이너와 런타임 중지"},
	cluster.StepClean:          {EN: "network, mounts and cgroups removed", KO: "네트워크, 마운트, cgroup 제거"},
	cluster.StepPurge:          {EN: "data removed", KO: "데이터 제거"},
}

func (a *app) showStep(e cluster.Event) {
	mark := "✓"
	if e.Error != "" {
		mark = "✗"
	}
	fmt.Fprintf(a.Out, " %s %7s  %s\n", mark, e.Since.Round(time.Millisecond), stepNames[e.Step].In(a.language))
}

func (a *app) showNext(cfg cluster.Config) {
	flag := ""
	if cfg.Dir != instance.DefaultDir {
		flag = " --data-dir " + string(cfg.Dir)
	}
	a.printf("\nThe cluster is ready. Next:\n", "\n클러스터가 준비되었습니다. 다음 단계:\n")
	for _, l := range []struct {
		command string
		what    language.Text
	}{
		{"sinawi demo" + flag, language.Text{EN: "watch an application run, heal, scale and update", KO: "애플리케이션의 실행, 복구, 확장, 업데이트를 봅니다"}},
		{"sinawi status" + flag, language.Text{EN: "see what runs and what is wrong", KO: "무엇이 실행 중이고 무엇이 잘못되었는지 봅니다"}},
		{"export KUBECONFIG=" + cfg.Dir.Kubeconfig(), language.Text{EN: "use your own kubectl, or: sinawi kubectl", KO: "자신의 kubectl을 쓰거나 sinawi kubectl을 씁니다"}},
		{"sinawi down" + flag, language.Text{EN: "stop it; --purge also removes its data", KO: "중지합니다 (--purge는 데이터도 지웁니다)"}},
	} {
		fmt.Fprintf(a.Out, "  %-44s %s\n", l.command, l.what.In(a.language))
	}
}

// tail returns the last lines of what was written to file after from.
func tail(file string, from int64) string {
	lines := strings.Split(strings.TrimSpace(process.LogSince(file, from)), "\n")
	const most = 15
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
