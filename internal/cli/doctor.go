package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sinawi/sinawi/internal/cluster"
	"github.com/sinawi/sinawi/internal/doctor"
)

func (a *app) doctor() *cobra.Command {
	var output string
	o := doctor.Options{}
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   a.say("Check whether this machine can run Sinawi, and how to fix what is missing", "이 머신에서 시나위를 실행할 수 있는지 검사하고 고치는 방법을 알려 줍니다"),
		Example: "  sinawi doctor\n  sinawi doctor -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	cmd.Flags().IntVar(&o.APIPort, "api-port", cluster.DefaultAPIPort, a.say("port of the Kubernetes API", "쿠버네티스 API 포트"))
	cmd.Flags().IntVar(&o.AgentPort, "agent-port", 0, a.say("port of the node's agent; 0 is any free one", "노드 에이전트 포트 (0이면 빈 포트)"))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.instance()
		if err != nil {
			return err
		}
		o.DataDir = string(dir)
		o.Running = cluster.CheckNotRunning(dir) != nil
		findings := doctor.Examine(cmd.Context(), o)
		if output != "" {
			if err := a.write(output, readable(findings)); err != nil {
				return err
			}
		} else {
			a.showFindings(findings)
		}
		if doctor.Worst(findings) == doctor.Fail {
			return fmt.Errorf("%s", a.say("this machine cannot run sinawi yet; fix what is marked ✗", "아직 이 머신에서 시나위를 실행할 수 없습니다. ✗로 표시된 것을 고치세요"))
		}
		return nil
	}
	return cmd
}

func (a *app) showFindings(findings []doctor.Finding) {
	marks := map[doctor.Status]string{doctor.OK: "✓", doctor.Warn: "!", doctor.Fail: "✗"}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", marks[f.Status], f.Name.In(a.language), f.Found)
		if fix := f.Fix.In(a.language); fix != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", fix)
		}
	}
	w.Flush()
}

// finding is a doctor.Finding as programs read it: in English always.
type finding struct {
	Check  string        `json:"check"`
	Status doctor.Status `json:"status"`
	Found  string        `json:"found"`
	Fix    string        `json:"fix,omitempty"`
}

func readable(findings []doctor.Finding) []finding {
	out := make([]finding, 0, len(findings))
	for _, f := range findings {
		out = append(out, finding{f.Name.EN, f.Status, f.Found, f.Fix.EN})
	}
	return out
}

// refuse returns an error when the machine cannot run a node, before anything
// is started that would fail in a way harder to understand.
func (a *app) refuse(ctx context.Context, cfg cluster.Config) error {
	if slices.Contains(cfg.Disable, cluster.PartAgent) {
		return nil // the API server alone asks little of a machine
	}
	// Whoever listens on the ports explains it best if they are taken.
	o := doctor.Options{DataDir: string(cfg.Dir), Running: true}
	var wrong []string
	for _, f := range doctor.Examine(ctx, o) {
		if f.Status == doctor.Fail {
			wrong = append(wrong, fmt.Sprintf("%s: %s\n   → %s", f.Name.In(a.language), f.Found, f.Fix.In(a.language)))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s\n ✗ %s", a.say("this machine cannot run sinawi yet; `sinawi doctor` checks all of it again", "아직 이 머신에서 시나위를 실행할 수 없습니다. `sinawi doctor`로 다시 검사할 수 있습니다"), strings.Join(wrong, "\n ✗ "))
}
