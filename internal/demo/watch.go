package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	criapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/cli/language"
)

// rolledOut waits until the deployment runs n ready replicas of its newest
// version and no other, as `kubectl rollout status` does.
func (t *tour) rolledOut(ctx context.Context, n int32) error {
	var last appsv1.DeploymentStatus
	err := t.until(ctx, t.client.AppsV1().RESTClient(), "deployments", appName, &appsv1.Deployment{}, func(e watch.Event) (bool, error) {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok || e.Type == watch.Deleted {
			return false, fmt.Errorf("the deployment is gone")
		}
		last = d.Status
		return last.ObservedGeneration >= d.Generation && last.UpdatedReplicas == n && last.Replicas == n && last.AvailableReplicas == n, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d replicas ready: %w; see `sinawi kubectl -n %s describe pods`", last.AvailableReplicas, n, err, t.namespace)
	}
	return nil
}

// until waits for a condition of one object.
func (t *tour) until(ctx context.Context, c cache.Getter, resource, name string, kind runtime.Object, condition toolswatch.ConditionFunc) error {
	lw := cache.NewListWatchFromClient(c, resource, t.namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := toolswatch.UntilWithSync(ctx, lw, kind, nil, condition)
	return err
}

func (t *tour) anyPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := t.client.CoreV1().Pods(t.namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + appName})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("no pod of the application is there")
	}
	return &pods.Items[0], nil
}

// restarted waits until the pod's container runs again and is ready.
func (t *tour) restarted(ctx context.Context, pod *corev1.Pod) error {
	before := pod.Status.ContainerStatuses[0].RestartCount
	return t.until(ctx, t.client.CoreV1().RESTClient(), "pods", pod.Name, &corev1.Pod{}, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			return false, fmt.Errorf("the pod is gone")
		}
		status := p.Status.ContainerStatuses
		return len(status) == 1 && status[0].RestartCount > before && status[0].Ready, nil
	})
}

func (t *tour) namespaceGone(ctx context.Context) error {
	lw := cache.NewListWatchFromClient(t.client.CoreV1().RESTClient(), "namespaces", "", fields.OneTermEqualSelector("metadata.name", t.namespace))
	gone := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	_, err := toolswatch.UntilWithSync(ctx, lw, &corev1.Namespace{}, gone, func(e watch.Event) (bool, error) { return e.Type == watch.Deleted, nil })
	return err
}

func (t *tour) setVersion(ctx context.Context, version string) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":%q,"env":[{"name":"DEMO_VERSION","value":%q}]}]}}}}`, appName, version)
	_, err := t.client.AppsV1().Deployments(t.namespace).Patch(ctx, appName, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// killContainer ends the container's first process with SIGKILL, from the host.
func killContainer(ctx context.Context, socket string, pod *corev1.Pod) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to the runtime: %w", err)
	}
	defer conn.Close()
	_, id, found := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !found {
		return fmt.Errorf("pod %s has no running container", pod.Name)
	}
	status, err := criapi.NewRuntimeServiceClient(conn).ContainerStatus(ctx, &criapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return fmt.Errorf("ask for the container's process: %w", err)
	}
	var info struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(status.Info["info"]), &info); err != nil || info.PID <= 1 {
		return fmt.Errorf("the runtime does not say which process container %.12s is", id)
	}
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", info.PID, err)
	}
	return nil
}

// bars draws how answers spread.
func bars(byPod map[string]int) []language.Text {
	var pods []string
	total := 0
	for pod, n := range byPod {
		pods = append(pods, pod)
		total += n
	}
	slices.Sort(pods)
	const width = 60
	var out []language.Text
	for _, pod := range pods {
		n := byPod[pod]
		out = append(out, language.Text{EN: fmt.Sprintf("%s %4d %s", pod, n, strings.Repeat("█", width*n/total))})
	}
	return out
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
