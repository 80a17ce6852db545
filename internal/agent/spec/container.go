package spec

import (
	"cmp"
	"encoding/json"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"github.com/sinawi/sinawi/internal/agent/env"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
)

// ContainerInput is all that a container's translation depends on.
type ContainerInput struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Attempt   int
	// Image is the reference that the puller made sure of.
	Image     string
	ImageUser ImageUser
	Env       []*cri.KeyValue
	Mounts    []*cri.Mount
	// TargetID is the container whose processes an ephemeral one joins.
	TargetID string
	Node     Node
}

// LogPath is a container's log in its pod's directory.
func LogPath(container string, attempt int) string {
	return path.Join(container, strconv.Itoa(attempt)+".log")
}

// Container returns a container's configuration. An error is for the pod's owner
// to correct.
func Container(in ContainerInput) (*cri.ContainerConfig, error) {
	security, err := in.security()
	if err != nil {
		return nil, err
	}
	c := in.Container
	config := &cri.ContainerConfig{
		Metadata:    &cri.ContainerMetadata{Name: c.Name, Attempt: uint32(in.Attempt)},
		Image:       &cri.ImageSpec{Image: in.Image, UserSpecifiedImage: c.Image},
		Command:     env.Expand(c.Command, in.Env),
		Args:        env.Expand(c.Args, in.Env),
		WorkingDir:  c.WorkingDir,
		Envs:        in.Env,
		Mounts:      in.Mounts,
		Labels:      identity(in.Pod),
		Annotations: in.annotations(),
		LogPath:     LogPath(c.Name, in.Attempt),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux:       &cri.LinuxContainerConfig{Resources: in.resources(), SecurityContext: security},
	}
	config.Labels[kubelettypes.KubernetesContainerNameLabel] = c.Name
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = stopSignal(*c.Lifecycle.StopSignal)
	}
	return config, nil
}

// annotations are what an agent that never saw the container must know of it.
func (in ContainerInput) annotations() map[string]string {
	c := in.Container
	out := map[string]string{
		observed.AnnotationHash:          plan.Hash(c),
		observed.AnnotationRestartCount:  strconv.Itoa(in.Attempt),
		observed.AnnotationMessagePath:   c.TerminationMessagePath,
		observed.AnnotationMessagePolicy: string(cmp.Or(c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)),
	}
	if grace := in.Pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		out[observed.AnnotationGracePeriod] = strconv.FormatInt(*grace, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		if text, err := json.Marshal(corev1.Container{Name: c.Name, Ports: c.Ports, Lifecycle: c.Lifecycle}); err == nil {
			out[observed.AnnotationPreStopHandler] = string(text)
		}
	}
	return out
}

// stopSignal turns SIGRTMIN+1 into CRI's SIGNAL_SIGRTMINPLUS1.
func stopSignal(name corev1.Signal) cri.Signal {
	word := strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(string(name))
	return cri.Signal(cri.Signal_value["SIGNAL_"+word])
}
