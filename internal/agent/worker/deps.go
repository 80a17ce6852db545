package worker

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/admit"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/probe"
	"github.com/sinawi/sinawi/internal/agent/spec"
)

// Images makes sure of images. An error may say Reason() string, the reason of
// the container's waiting state, and RetryAt() time.Time.
type Images interface {
	Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container) (ref string, err error)
	EnsureImage(ctx context.Context, pod *corev1.Pod, image string, policy corev1.PullPolicy) (ref string, err error)
}

// Env makes a container's environment.
type Env interface {
	Env(ctx context.Context, pod *corev1.Pod, container *corev1.Container) ([]*cri.KeyValue, error)
}

// Content is told which objects a pod refers to.
type Content interface {
	Register(pod *corev1.Pod)
	Unregister(uid types.UID)
}

// Volumes makes a pod's volumes.
type Volumes interface {
	Setup(ctx context.Context, pod *corev1.Pod) (renew time.Time, err error)
	Path(uid types.UID, volume *corev1.Volume) string
	SubPath(pod *corev1.Pod, volume *corev1.Volume, container string, index int, sub string) (string, error)
	Device(pod *corev1.Pod, volume string) (string, error)
	PodDir(uid types.UID) string
	Remove(uid types.UID) error
}

// Cgroups keeps the pods' control groups.
type Cgroups interface {
	Ensure(pod *corev1.Pod) error
	Path(pod *corev1.Pod) string
	Remove(uid types.UID) error
}

// Report writes statuses.
type Report interface {
	Set(pod *corev1.Pod, status corev1.PodStatus)
	Finish(pod *corev1.Pod, status corev1.PodStatus)
	Latest(pod *corev1.Pod) *corev1.Pod
	Forget(uid types.UID)
}

// Deps are what all workers of a node share.
type Deps struct {
	Runtime  cri.RuntimeServiceClient
	ImageSvc cri.ImageServiceClient
	Images   Images
	Env      Env
	Content  Content
	Volumes  Volumes
	Cgroups  Cgroups
	Report   Report
	Asker    probe.Asker
	// Messages reads termination messages.
	Messages observed.MessageReader
	// Admit says why the node does not take a pod; one that runs here it has taken.
	Admit func(pod *corev1.Pod, runs bool) *admit.Refusal
	// Resize says why the node does not grant a running pod what it asks for.
	Resize func(pod *corev1.Pod) *admit.Refusal
	// Handler resolves a RuntimeClass to the runtime's word for it.
	Handler func(ctx context.Context, class string) (string, error)
	// Drain returns when services lead nobody to this address of a pod any more;
	// nil: nobody knows, and pods are stopped at once.
	Drain    func(ctx context.Context, ip netip.Addr) error
	Recorder record.EventRecorder
	Log      *slog.Logger

	Node spec.Node
	// HostIPs are the node's; RuntimeName begins container IDs.
	HostIPs     []string
	RuntimeName string
	// NodeHosts is the file that pods on the node's network find as /etc/hosts.
	NodeHosts string
}
