// Package observed is what a container runtime says about pods, in the words
// that the agent decides with. The runtime is the only memory: which pod and
// container something belongs to, how often it was restarted and how its
// termination message is read stands in labels and annotations that the agent
// gave it (kubelet's io.kubernetes.* names), so that another agent, or the same
// after a crash, reads the same state.
package observed

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// Annotations of containers, as kubelet writes them.
const (
	AnnotationHash           = "io.kubernetes.container.hash"
	AnnotationRestartCount   = "io.kubernetes.container.restartCount"
	AnnotationMessagePath    = "io.kubernetes.container.terminationMessagePath"
	AnnotationMessagePolicy  = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationGracePeriod    = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationPreStopHandler = "io.kubernetes.container.preStopHandler"
)

// State is where a container is in its life.
type State int

// The states of a container.
const (
	Unknown State = iota
	Created
	Running
	Exited
)

func (s State) String() string {
	return [...]string{"unknown", "created", "running", "exited"}[s]
}

// Container is one instance of a container.
type Container struct {
	ID, Name, SandboxID string
	State               State
	Created             time.Time
	Started, Finished   time.Time
	ExitCode            int32
	Reason, Message     string
	Image, ImageID      string
	Hash                string
	RestartCount        int
	GracePeriod         *int64
	LogPath             string
	User                *runtimeapi.LinuxContainerUser
	Resources           *runtimeapi.LinuxContainerResources
	// messagePath on the host and its policy, read once at the end.
	messageFile, messagePolicy string
}

// Sandbox is one sandbox of a pod.
type Sandbox struct {
	ID          string
	Ready       bool
	Created     time.Time
	Attempt     uint32
	IPs         []string
	HostNetwork bool
}

// Pod is everything the runtime holds of one pod, newest first.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	Sandboxes       []Sandbox
	Containers      []Container
}

// Sandbox returns the newest sandbox, or nil.
func (p *Pod) Sandbox() *Sandbox {
	if len(p.Sandboxes) == 0 {
		return nil
	}
	return &p.Sandboxes[0]
}

// Latest returns the newest instance of a container, or nil.
func (p *Pod) Latest(name string) *Container {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// Running says whether any container runs.
func (p *Pod) Running() bool {
	return slices.ContainsFunc(p.Containers, func(c Container) bool { return c.State == Running })
}

// MessageReader reads termination messages: of a file, else of a log's end.
type MessageReader func(file, policy, log string, failed bool) string

// Reader reads one pod's state again and again and asks the runtime about
// containers that have exited only once. It is not safe for concurrent use.
type Reader struct {
	runtime  runtimeapi.RuntimeServiceClient
	messages MessageReader
	exited   map[string]Container
	sandbox  map[string]Sandbox
}

// NewReader returns a Reader over a runtime.
func NewReader(runtime runtimeapi.RuntimeServiceClient, messages MessageReader) *Reader {
	return &Reader{runtime: runtime, messages: messages, exited: map[string]Container{}, sandbox: map[string]Sandbox{}}
}

// Read returns the state of the pod uid now.
func (r *Reader) Read(ctx context.Context, uid types.UID) (*Pod, error) {
	selector := map[string]string{kubelettypes.KubernetesPodUIDLabel: string(uid)}
	pod := &Pod{UID: uid}
	boxes, err := r.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: selector}})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, item := range boxes.Items {
		pod.Namespace, pod.Name = item.Metadata.GetNamespace(), item.Metadata.GetName()
		box, err := r.readSandbox(ctx, item)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pod.Sandboxes = append(pod.Sandboxes, box)
	}
	list, err := r.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: selector}})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, item := range list.Containers {
		container, err := r.readContainer(ctx, item)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pod.Containers = append(pod.Containers, container)
	}
	r.forget(pod)
	slices.SortFunc(pod.Sandboxes, func(a, b Sandbox) int { return b.Created.Compare(a.Created) })
	slices.SortFunc(pod.Containers, func(a, b Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.RestartCount, a.RestartCount))
	})
	return pod, nil
}

func gone(err error) bool { return status.Code(err) == codes.NotFound }

// forget drops what is remembered of containers that are no more.
func (r *Reader) forget(pod *Pod) {
	for id := range r.exited {
		if !slices.ContainsFunc(pod.Containers, func(c Container) bool { return c.ID == id }) {
			delete(r.exited, id)
		}
	}
	for id := range r.sandbox {
		if !slices.ContainsFunc(pod.Sandboxes, func(s Sandbox) bool { return s.ID == id }) {
			delete(r.sandbox, id)
		}
	}
}

func (r *Reader) readSandbox(ctx context.Context, item *runtimeapi.PodSandbox) (Sandbox, error) {
	ready := item.State == runtimeapi.PodSandboxState_SANDBOX_READY
	if box, ok := r.sandbox[item.Id]; ok && box.Ready == ready {
		return box, nil
	}
	answer, err := r.runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: item.Id})
	if err != nil {
		return Sandbox{}, err
	}
	s := answer.Status
	box := Sandbox{
		ID:          s.Id,
		Ready:       s.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		Created:     time.Unix(0, s.CreatedAt),
		Attempt:     s.Metadata.GetAttempt(),
		HostNetwork: s.Linux.GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	if s.Network.GetIp() != "" {
		box.IPs = append(box.IPs, s.Network.Ip)
	}
	for _, ip := range s.Network.GetAdditionalIps() {
		box.IPs = append(box.IPs, ip.Ip)
	}
	r.sandbox[item.Id] = box
	return box, nil
}

func (r *Reader) readContainer(ctx context.Context, item *runtimeapi.Container) (Container, error) {
	if kept, ok := r.exited[item.Id]; ok {
		return kept, nil
	}
	answer, err := r.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: item.Id})
	if err != nil {
		return Container{}, err
	}
	c := fromStatus(answer.Status)
	c.SandboxID = item.PodSandboxId
	if c.State == Exited {
		if text := r.messages(c.messageFile, c.messagePolicy, c.LogPath, c.ExitCode != 0); text != "" {
			c.Message = text
		}
		r.exited[c.ID] = c
	}
	return c, nil
}

func fromStatus(s *runtimeapi.ContainerStatus) Container {
	c := Container{
		ID: s.Id, Name: s.Labels[kubelettypes.KubernetesContainerNameLabel],
		Created: moment(s.CreatedAt), Started: moment(s.StartedAt), Finished: moment(s.FinishedAt),
		ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message,
		Image: s.Image.GetImage(), ImageID: s.ImageRef,
		Hash:          s.Annotations[AnnotationHash],
		messagePolicy: s.Annotations[AnnotationMessagePolicy],
		LogPath:       s.LogPath,
		User:          s.User.GetLinux(),
		Resources:     s.Resources.GetLinux(),
	}
	if s.Image.GetUserSpecifiedImage() != "" {
		c.Image = s.Image.UserSpecifiedImage
	}
	// A container whose annotations are damaged counts from its attempt.
	count, err := strconv.Atoi(s.Annotations[AnnotationRestartCount])
	if err != nil {
		count = int(s.Metadata.GetAttempt())
	}
	c.RestartCount = count
	if grace, err := strconv.ParseInt(s.Annotations[AnnotationGracePeriod], 10, 64); err == nil {
		c.GracePeriod = &grace
	}
	if path := s.Annotations[AnnotationMessagePath]; path != "" {
		for _, mount := range s.Mounts {
			if mount.ContainerPath == path {
				c.messageFile = mount.HostPath
			}
		}
	}
	switch s.State {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		c.State = Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		c.State = Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		c.State = Exited
	}
	return c
}

func moment(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}
