package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/cli/status"
	"github.com/sinawi/sinawi/internal/instance"
)

// statusTimeout bounds what a stuck server can keep a person waiting.
const statusTimeout = 10 * time.Second

func (a *app) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   a.say("Show what runs and what is wrong", "무엇이 실행 중이고 무엇이 잘못되었는지 보여 줍니다"),
		Example: "  sinawi status\n  sinawi status -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), statusTimeout)
		defer cancel()
		dir, err := a.instance()
		if err != nil {
			return err
		}
		report, err := a.examine(ctx, dir)
		if output != "" {
			return errors.Join(a.write(output, report), err)
		}
		a.showStatus(report)
		return err
	}
	return cmd
}

// examine reads all there is to know; what it could read is in the report also
// where it returns an error.
func (a *app) examine(ctx context.Context, dir instance.Dir) (status.Report, error) {
	server := status.Process("server", dir.ServerProcess())
	runtime := status.Process("runtime", dir.RuntimeProcess())
	report := status.Report{Parts: []status.Part{server, runtime}}
	if !server.Running {
		return report, fmt.Errorf("no server runs on %s; start it with: sinawi up --detach, or name another --data-dir; its last words: sinawi logs", dir)
	}
	_, cfg, err := a.connect()
	if err != nil {
		return report, err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return report, fmt.Errorf("connect to the cluster: %w", err)
	}
	api := status.Part{Name: "API", Running: true}
	began := time.Now()
	body, err := c.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(ctx)
	api.Answers = time.Since(began)
	if err != nil {
		api.Running, api.Error = false, fmt.Sprintf("%v %s", err, body)
		report.Parts = append(report.Parts, api)
		return report, fmt.Errorf("the API does not answer as it should: %w", err)
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return report, fmt.Errorf("list nodes: %w", err)
	}
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return report, fmt.Errorf("list pods: %w", err)
	}
	parts := append(report.Parts, api)
	report = status.Sum(nodes.Items, pods.Items, time.Now())
	report.Parts = parts
	return report, nil
}

func (a *app) showStatus(r status.Report) {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	mark := map[bool]string{true: "✓", false: "✗"}
	for _, p := range r.Parts {
		fmt.Fprintf(w, "%s %s\t%s\n", mark[p.Running], p.Name, a.describePart(p))
	}
	if len(r.Nodes) > 0 {
		fmt.Fprintf(w, "\n%s\n", a.say("NODE\tADDRESS\tPODS\tCPU ASKED\tMEMORY ASKED\tAGE", "노드\t주소\t파드\tCPU 요청\t메모리 요청\t나이"))
	}
	for _, n := range r.Nodes {
		fmt.Fprintf(w, "%s %s\t%s\t%d/%d\t%s/%s\t%s/%s\t%s\n", mark[n.Ready], n.Name, n.Address, n.Pods, n.MaxPods,
			n.CPU.Requested, n.CPU.Allocatable, n.Memory.Requested, n.Memory.Allocatable, n.Age)
	}
	w.Flush()
	if r.Nodes == nil {
		return
	}
	a.printf("\nPods: %d ready, %d starting, %d succeeded, %d failed\n", "\n파드: 준비 %d, 시작 중 %d, 성공 %d, 실패 %d\n",
		r.Pods.Ready, r.Pods.Starting, r.Pods.Succeeded, r.Pods.Failed)
	if len(r.Problems) == 0 {
		a.printf("Nothing is wrong.\n", "문제가 없습니다.\n")
		return
	}
	a.printf("\nWhat is wrong:\n", "\n문제:\n")
	for _, p := range r.Problems {
		since := ""
		if p.Since > 0 {
			since = fmt.Sprintf(" (%s)", p.Since)
		}
		fmt.Fprintf(a.Out, " ✗ %s: %s%s\n     %s %s\n", p.Object, p.What, since, a.say("see:", "확인:"), p.Next)
	}
}

func (a *app) describePart(p status.Part) string {
	switch {
	case p.Error != "":
		return p.Error
	case !p.Running:
		return a.say("not running", "실행 중이 아님")
	case p.PID != 0:
		return fmt.Sprintf("%s %d, %.0f MB", a.say("process", "프로세스"), p.PID, float64(p.Memory)/1e6)
	}
	return fmt.Sprintf(a.say("answers in %s", "응답 시간 %s"), p.Answers.Round(100*time.Microsecond))
}
