package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/cli/manifest"
	"github.com/sinawi/sinawi/internal/cli/sentences"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

func (a *app) plan() *cobra.Command {
	var files []string
	var namespace, drain, output, rules string
	cmd := &cobra.Command{
		Use:   "plan (-f FILE | --drain NODE)",
		Short: a.say("Say where an application would land, or what a node's loss would do, without doing it", "앱이 어디에 놓일지, 노드를 잃으면 어떻게 될지 실행하지 않고 알려 줍니다"),
		Long: a.say(
			"With -f, places the pods of a manifest's workloads as the scheduler would, and says of those that fit nowhere what stands in the way. Workloads that exist already are taken to be replaced.\nWith --drain, says where a node's pods would go, which would wait, which would be lost, and which disruption budgets object.\nNothing is created or moved. With both, the application is planned after the node is gone.",
			"-f는 매니페스트의 워크로드 파드를 스케줄러처럼 배치해 보고, 자리가 없는 것은 무엇이 막는지 알려 줍니다. 이미 있는 워크로드는 교체되는 것으로 봅니다.\n--drain은 노드의 파드가 어디로 가고, 무엇이 기다리고, 무엇이 사라지며, 어느 중단 예산이 막는지 알려 줍니다.\n아무것도 만들거나 옮기지 않습니다. 둘을 함께 쓰면 노드가 없어진 뒤의 앱을 계획합니다."),
		Example: "  sinawi plan -f app.yaml\n  sinawi plan -f app.yaml -n shop -o json\n  sinawi plan --drain node1",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, a.say("manifests to plan: files, folders, or - for stdin", "계획할 매니페스트: 파일, 폴더, 또는 표준 입력 -"))
	cmd.Flags().StringVarP(&namespace, "namespace", "n", corev1.NamespaceDefault, a.say("namespace of objects that name none", "네임스페이스가 없는 객체의 네임스페이스"))
	cmd.Flags().StringVar(&drain, "drain", "", a.say("a node to plan without", "없다고 가정할 노드"))
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	a.rulesFlag(cmd, &rules)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(files) == 0 && drain == "" {
			return errors.New("nothing to plan; name manifests with -f FILE, or a node with --drain NODE")
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), outlookTimeout)
		defer cancel()
		profiles, err := readProfiles(rules)
		if err != nil {
			return err
		}
		f, err := a.forecast(ctx, files, namespace, drain, profiles)
		if err != nil {
			return err
		}
		if output != "" {
			return a.write(output, f)
		}
		a.showMoves(f.Moves)
		a.showPlacements(f.Placements)
		return nil
	}
	return cmd
}

// forecast is what a plan says.
type forecast struct {
	Moves      []outlook.Move      `json:"moves,omitempty"`
	Placements []outlook.Placement `json:"placements,omitempty"`
}

func (a *app) forecast(ctx context.Context, files []string, namespace, drain string, profiles []*engine.Profile) (forecast, error) {
	var out forecast
	application, err := manifest.Read(files, a.In, namespace)
	if err != nil {
		return out, err
	}
	workloads := application.Workloads
	if len(files) > 0 && len(workloads) == 0 {
		return out, fmt.Errorf("%s: no object that runs pods; plan Deployments, StatefulSets, DaemonSets, Jobs, CronJobs or Pods", strings.Join(files, ", "))
	}
	c, err := a.client()
	if err != nil {
		return out, err
	}
	objects, err := picture(ctx, c)
	if err != nil {
		return out, err
	}
	for i := range workloads {
		if err := admit(ctx, c, &workloads[i]); err != nil {
			return out, err
		}
		workloads[i].Replaces = current(workloads[i], objects)
	}
	cluster := outlook.New(objects)
	cluster.Use(profiles...)
	if drain != "" {
		if out.Moves, err = cluster.Drain(drain); err != nil {
			return out, fmt.Errorf("%w; list them with: sinawi kubectl get nodes", err)
		}
	}
	cluster.Serve(application.Services...)
	out.Placements = cluster.Plan(workloads)
	return out, nil
}

// admit lets the API fill in what it gives pods, and notes why it would refuse them.
// Where that cannot be known yet, as in a namespace that is still to be made, the pod
// stays as it is written.
func admit(ctx context.Context, c client.Client, w *outlook.Workload) error {
	pod := w.Pod.DeepCopy()
	pod.Name, pod.GenerateName = "", "plan-"
	pod.Spec.ServiceAccountName = "" // one of the application's own may not exist yet
	err := c.Create(ctx, pod, client.DryRunAll)
	switch {
	case err == nil:
		pod.Spec.ServiceAccountName = w.Pod.Spec.ServiceAccountName
		w.Pod = pod
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		w.Refused = err.Error()
	case apierrors.IsNotFound(err):
		requestWhatIsLimited(w.Pod)
	default:
		return fmt.Errorf("ask the API about %s %s: %w", strings.ToLower(w.Kind), w.Name, err)
	}
	return nil
}

// requestWhatIsLimited is the one default that placement cannot do without.
func requestWhatIsLimited(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		r := &pod.Spec.Containers[i].Resources
		for name, limit := range r.Limits {
			if _, ok := r.Requests[name]; !ok {
				if r.Requests == nil {
					r.Requests = corev1.ResourceList{}
				}
				r.Requests[name] = limit
			}
		}
	}
}

// current are the pods that a workload has now.
func current(w outlook.Workload, objects []client.Object) (out []types.UID) {
	owners := map[string]bool{w.Kind + "/" + w.Name: true}
	for _, obj := range objects {
		if rs, ok := obj.(*appsv1.ReplicaSet); ok && rs.Namespace == w.Namespace {
			if ref := metav1.GetControllerOf(rs); ref != nil && ref.Kind == w.Kind && ref.Name == w.Name {
				owners["ReplicaSet/"+rs.Name] = true
			}
		}
	}
	for _, obj := range objects {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Namespace != w.Namespace {
			continue
		}
		ref := metav1.GetControllerOf(pod)
		if ref != nil && owners[ref.Kind+"/"+ref.Name] || w.Kind == "Pod" && pod.Name == w.Name {
			out = append(out, pod.UID)
		}
	}
	return out
}

func (a *app) showPlacements(placements []outlook.Placement) {
	if len(placements) == 0 {
		return
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, a.say("OBJECT\tPODS\tWHERE", "객체\t파드\t위치"))
	for _, p := range placements {
		var where []string
		for _, node := range slices.Sorted(maps.Keys(p.On)) {
			where = append(where, fmt.Sprintf("%s: %d", node, p.On[node]))
		}
		if p.Waiting > 0 {
			where = append(where, fmt.Sprintf(a.say("✗ nowhere: %d", "✗ 자리 없음: %d"), p.Waiting))
		}
		fmt.Fprintf(w, "%s %s/%s\t%d\t%s\n", strings.ToLower(p.Kind), p.Namespace, p.Name, p.Count, strings.Join(where, ", "))
	}
	w.Flush()
	for _, p := range placements {
		switch {
		case p.Refused != "":
			a.printf("\n%s %s/%s would be refused: %s\n", "\n%s %s/%s 거부될 것입니다: %s\n", strings.ToLower(p.Kind), p.Namespace, p.Name, p.Refused)
		case p.Why != nil:
			fmt.Fprintln(a.Out)
			a.showWhy(*p.Why)
		}
	}
}

func (a *app) showMoves(moves []outlook.Move) {
	if len(moves) == 0 {
		return
	}
	fates := map[outlook.Fate]string{
		outlook.Moves: a.say("moves", "옮겨짐"), outlook.Waits: a.say("✗ waits", "✗ 기다림"),
		outlook.Lost: a.say("✗ is lost: nothing makes another", "✗ 사라짐: 다시 만드는 것이 없음"), outlook.Leaves: a.say("goes with the node", "노드와 함께 사라짐"),
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, a.say("POD\tFATE\tTO\tNOTE", "파드\t결과\t이동할 노드\t비고"))
	for _, m := range moves {
		var notes []string
		if m.Budget != "" {
			notes = append(notes, fmt.Sprintf(a.say("disruption budget %s allows no eviction now", "중단 예산 %s가 지금은 축출을 허용하지 않음"), m.Budget))
		}
		if m.Data && m.Fate != outlook.Leaves {
			notes = append(notes, a.say("loses the files of its emptyDir", "emptyDir의 파일을 잃음"))
		}
		fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\n", m.Namespace, m.Name, fates[m.Fate], m.To, strings.Join(notes, "; "))
	}
	w.Flush()
	s := sentences.Speaker(a.language)
	for _, m := range moves {
		if m.Why != nil {
			fmt.Fprintf(a.Out, "\n%s\n%s\n", s.Verdict(*m.Why), s.Advice(*m.Why))
		}
	}
	fmt.Fprintln(a.Out)
}
