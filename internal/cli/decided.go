package cli

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/decisions"
	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// story is an answer with what was decided before.
type story struct {
	outlook.Answer
	// Gone: there is no such pod any more, but there was.
	Gone      bool                 `json:"gone,omitempty"`
	Decisions []decisions.Decision `json:"decisions,omitempty"`
}

// decided reads what the scheduler decided about the pods of a name.
func (a *app) decided(namespace, name string) ([]decisions.Decision, error) {
	dir, err := a.instance()
	if err != nil {
		return nil, err
	}
	return decisions.Of(dir.Decisions(), namespace, name)
}

// whyGone answers for a pod that there is not.
func (a *app) whyGone(namespace, name, output string, past []decisions.Decision, err error) error {
	if err != nil {
		return fmt.Errorf("there is no pod %s in namespace %s, and what was decided about it cannot be read: %w", name, namespace, err)
	}
	if len(past) == 0 {
		return fmt.Errorf("there is no pod %s in namespace %s; list them all with: sinawi kubectl get pods -A", name, namespace)
	}
	if output != "" {
		return a.write(output, story{
			Answer: outlook.Answer{Namespace: namespace, Name: name, Nodes: []outlook.Node{}}, Gone: true, Decisions: past,
		})
	}
	a.printf("Pod %s/%s is gone.\n", "파드 %s/%s는 사라졌습니다.\n", namespace, name)
	a.showDecisions(past, "", nil)
	return nil
}

// showDecisions lists what was decided, the pods of the same name apart: now is
// the one that there is.
func (a *app) showDecisions(past []decisions.Decision, now types.UID, err error) {
	if err != nil {
		a.printf("\nWhat was decided before cannot be read: %v\n", "\n지난 결정을 읽을 수 없습니다: %v\n", err)
		return
	}
	if len(past) == 0 {
		return
	}
	fmt.Fprintln(a.Out)
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, a.say("DECIDED\tNODE\tBECAUSE", "결정 시각\t노드\t이유"))
	for _, d := range past {
		node := d.Node
		if node == "" {
			node = a.say("none", "없음")
		}
		earlier := ""
		if now != "" && d.UID != string(now) {
			earlier = a.say(" (an earlier pod of this name)", " (같은 이름의 이전 파드)")
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", d.Time.Local().Format(time.DateTime), node, a.because(d), earlier)
	}
	w.Flush()
}

func (a *app) because(d decisions.Decision) string {
	switch {
	case d.Node == "" && d.Nominated != "":
		return d.Why + a.say(" Room is being made on node ", " 자리를 만드는 노드: ") + d.Nominated
	case d.Node == "":
		return strings.TrimSpace(d.Why)
	case d.Feasible == 0:
		return a.say("room was made for it there", "그곳에 자리를 만들어 두었음")
	case d.Feasible == 1:
		return a.say("the only node that could take it", "받을 수 있는 유일한 노드")
	}
	score := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	return fmt.Sprintf(a.say("the best of %d: it scores %s, the next %s", "%d개 중 최선: %s점, 다음은 %s점"), d.Feasible, score(d.Score), score(d.RunnerUp))
}
