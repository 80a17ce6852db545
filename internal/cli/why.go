package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/cli/sentences"
	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// outlookTimeout bounds the reading of a cluster.
const outlookTimeout = time.Minute

func (a *app) why() *cobra.Command {
	var namespace, output, rules string
	cmd := &cobra.Command{
		Use:   "why POD",
		Short: a.say("Say why a pod runs nowhere, node by node, and what would help", "파드가 왜 실행되지 못하는지, 무엇이 도움이 되는지 노드별로 알려 줍니다"),
		Long: a.say(
			"Asks every node by the scheduler's own rules why it does not take a pod, with numbers, and names the smallest change that would let it run.\nOf a pod that runs it says which nodes could have it. What the scheduler decided about the pod before follows, also of a pod that is gone.",
			"스케줄러와 같은 규칙으로 모든 노드에 왜 파드를 받지 않는지 숫자와 함께 묻고, 실행되게 할 가장 작은 변화를 알려 줍니다.\n이미 실행 중인 파드는 어느 노드가 받을 수 있는지 보여 줍니다. 이어서 스케줄러가 그 파드에 대해 내린 지난 결정을 보여 주며, 사라진 파드도 볼 수 있습니다."),
		Example: "  sinawi why pod/web-1\n  sinawi why web-1 -n shop -o json",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", corev1.NamespaceDefault, a.say("namespace of the pod", "파드의 네임스페이스"))
	cmd.Flags().StringVarP(&output, "output", "o", "", a.say("json or yaml", "json 또는 yaml"))
	a.rulesFlag(cmd, &rules)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), outlookTimeout)
		defer cancel()
		profiles, err := readProfiles(rules)
		if err != nil {
			return err
		}
		name, err := podName(args[0])
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		pod := &corev1.Pod{}
		past, pastErr := a.decided(namespace, name)
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); apierrors.IsNotFound(err) {
			return a.whyGone(namespace, name, output, past, pastErr)
		} else if err != nil {
			return fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
		}
		objects, err := picture(ctx, c)
		if err != nil {
			return err
		}
		cluster := outlook.New(objects)
		cluster.Use(profiles...)
		answer := cluster.Why(pod)
		if output != "" {
			return a.write(output, story{Answer: answer, Decisions: past})
		}
		a.showWhy(answer)
		a.showDecisions(past, pod.UID, pastErr)
		return nil
	}
	return cmd
}

// rulesFlag lets profiles be named by which pods are placed.
func (a *app) rulesFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "scheduler-config", "", a.say(
		"KubeSchedulerConfiguration file that the cluster was started with, for pods of its profiles",
		"클러스터를 시작할 때 쓴 KubeSchedulerConfiguration 파일 (그 프로필을 쓰는 파드용)"))
}

// readProfiles reads the profiles of a file; without one there are none but the default.
func readProfiles(file string) ([]*engine.Profile, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--scheduler-config: %w", err)
	}
	c, err := config.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("--scheduler-config %s: %w", file, err)
	}
	out := make([]*engine.Profile, 0, len(c.Profiles))
	for i := range c.Profiles {
		out = append(out, c.Profiles[i].Profile)
	}
	return out, nil
}

// podName takes "web-1", "pod/web-1" and kubectl's other names of the kind.
func podName(arg string) (string, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return arg, nil
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		return name, nil
	}
	return "", fmt.Errorf("%s is no pod; only pods are placed on nodes: name one of its pods, as in `sinawi why pod/%s-…`", arg, name)
}

func (a *app) client() (client.Client, error) {
	_, cfg, err := a.connect()
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return c, nil
}

// picture reads all that placement looks at.
func picture(ctx context.Context, c client.Client) ([]client.Object, error) {
	var out []client.Object
	for _, list := range []client.ObjectList{
		&corev1.NodeList{}, &corev1.PodList{}, &corev1.NamespaceList{}, &policyv1.PodDisruptionBudgetList{},
		&corev1.ServiceList{}, &corev1.ReplicationControllerList{}, &appsv1.ReplicaSetList{}, &appsv1.StatefulSetList{},
		&corev1.PersistentVolumeClaimList{}, &corev1.PersistentVolumeList{},
		&storagev1.StorageClassList{}, &storagev1.CSINodeList{}, &storagev1.CSIDriverList{}, &storagev1.CSIStorageCapacityList{},
		&storagev1.VolumeAttachmentList{},
		&resourcev1.ResourceClaimList{}, &resourcev1.DeviceClassList{}, &resourcev1.ResourceSliceList{}, &resourcev1.DeviceTaintRuleList{},
	} {
		if err := c.List(ctx, list, &client.ListOptions{}); err != nil {
			return nil, fmt.Errorf("read the cluster: %w", err)
		}
		err := meta.EachListItem(list, func(obj runtime.Object) error {
			out = append(out, obj.(client.Object))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the cluster: %w", err)
		}
	}
	batch, err := batchPicture(ctx, c)
	return append(out, batch...), err
}

// batchPicture reads pod groups and queues, which not every server has.
func batchPicture(ctx context.Context, c client.Client) ([]client.Object, error) {
	var out []client.Object
	absent := func(err error) bool { return err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }
	groups := &schedulingv1beta1.PodGroupList{}
	if err := c.List(ctx, groups); !absent(err) {
		return nil, fmt.Errorf("read pod groups: %w", err)
	}
	for i := range groups.Items {
		out = append(out, &groups.Items[i])
	}
	queues := &unstructured.UnstructuredList{}
	queues.SetGroupVersionKind(batchv1.QueueKind())
	if err := c.List(ctx, queues); !absent(err) {
		return nil, fmt.Errorf("read queues: %w", err)
	}
	for i := range queues.Items {
		q := &batchv1.Queue{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(queues.Items[i].Object, q); err != nil {
			return nil, fmt.Errorf("read queue %s: %w", queues.Items[i].GetName(), err)
		}
		out = append(out, q)
	}
	return out, nil
}

func (a *app) showWhy(answer outlook.Answer) {
	s := sentences.Speaker(a.language)
	fmt.Fprintln(a.Out, s.Verdict(answer))
	if answer.Held != "" {
		fmt.Fprintln(a.Out, a.say("Its group or queue holds it: ", "그룹이나 큐가 붙잡고 있습니다: ")+answer.Held)
	}
	if len(answer.Nodes) > 0 {
		fmt.Fprintln(a.Out)
		a.showNodes(answer)
	}
	if advice := s.Advice(answer); advice != "" {
		fmt.Fprintf(a.Out, "\n%s\n", advice)
	}
}

func (a *app) showNodes(answer outlook.Answer) {
	s := sentences.Speaker(a.language)
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, a.say("NODE\tTAKES IT\tBECAUSE\tIT WOULD IF", "노드\t가능\t이유\t가능하게 하려면"))
	for _, n := range answer.Nodes {
		switch {
		case n.Node == answer.Node:
			fmt.Fprintf(w, "%s\t✓\t%s\t\n", n.Node, a.say("it is here", "여기에 있음"))
		case n.Fits:
			fmt.Fprintf(w, "%s\t✓\t\t\n", n.Node)
		default:
			fmt.Fprintf(w, "%s\t✗\t%s\t%s\n", n.Node, s.Obstacles(n), s.Changes(n))
		}
	}
	w.Flush()
}
