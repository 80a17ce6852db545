package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	kubelettypes "k8s.io/kubelet/pkg/types"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// runTimeout ends a command of /run.
const runTimeout = 120 // seconds

var errNoPod = errors.New("pod does not exist")

// target finds the pod that a path names, by uid too when there is one.
func (s *Server) target(r *http.Request) (*corev1.Pod, error) {
	pod, ok := s.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		return nil, errNoPod
	}
	if uid := r.PathValue("uid"); uid != "" && uid != string(pod.UID) {
		return nil, errNoPod
	}
	return pod, nil
}

// running is the id of the running container that a path names.
func (s *Server) running(r *http.Request, pod *corev1.Pod) (string, error) {
	name := r.PathValue("container")
	found, err := s.containers(r.Context(), map[string]string{
		kubelettypes.KubernetesPodUIDLabel:        string(pod.UID),
		kubelettypes.KubernetesContainerNameLabel: name,
	}, true)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("container not found (%q)", name)
	}
	return found[0].Id, nil
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	s.command(w, r, func(ctx context.Context, _ *corev1.Pod, id string, o *remotecommand.Options) (string, error) {
		answer, err := s.Runtime.Exec(ctx, &cri.ExecRequest{
			ContainerId: id, Cmd: r.URL.Query()["command"],
			Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY,
		})
		return answer.GetUrl(), err
	})
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	s.command(w, r, func(ctx context.Context, pod *corev1.Pod, id string, o *remotecommand.Options) (string, error) {
		// Whether a process has a terminal was decided when it started.
		o.TTY = hasTTY(pod, r.PathValue("container"))
		answer, err := s.Runtime.Attach(ctx, &cri.AttachRequest{
			ContainerId: id, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr && !o.TTY, Tty: o.TTY,
		})
		return answer.GetUrl(), err
	})
}

func hasTTY(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].TTY
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return pod.Spec.EphemeralContainers[i].TTY
		}
	}
	return false
}

// command passes the streams of a process on, to the address that prepare gets
// from the runtime.
func (s *Server) command(w http.ResponseWriter, r *http.Request, prepare func(context.Context, *corev1.Pod, string, *remotecommand.Options) (string, error)) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod, err := s.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	id, err := s.running(r, pod)
	if err != nil {
		streaming.WriteError(err, w)
		return
	}
	address, err := prepare(r.Context(), pod, id, options)
	if err != nil {
		streaming.WriteError(err, w)
		return
	}
	location, err := url.Parse(address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var handler http.Handler = s.pass(location)
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		// The runtime does not speak the newest WebSocket protocol.
		handler = streamproxy.NewStreamTranslatorHandler(location, nil, 0, streamproxy.Options{
			Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr, Tty: options.TTY,
		})
	}
	handler.ServeHTTP(w, r)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	tunnel := wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	options := &portforward.V4Options{}
	if !tunnel {
		var err error
		if options, err = portforward.NewV4Options(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	pod, err := s.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	location, err := s.forward(r.Context(), pod, options.Ports)
	if err != nil {
		streaming.WriteError(err, w)
		return
	}
	var handler http.Handler = s.pass(location)
	if tunnel {
		handler = streamproxy.NewTunnelingHandler(handler)
	}
	handler.ServeHTTP(w, r)
}

// forward prepares forwarding to the newest ready sandbox of a pod.
func (s *Server) forward(ctx context.Context, pod *corev1.Pod, ports []int32) (*url.URL, error) {
	answer, err := s.Runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{
		State:         &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{kubelettypes.KubernetesPodUIDLabel: string(pod.UID)},
	}})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var newest *cri.PodSandbox
	for _, box := range answer.Items {
		if newest == nil || box.CreatedAt > newest.CreatedAt {
			newest = box
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("unable to forward ports: pod %s is not running", pod.Name)
	}
	prepared, err := s.Runtime.PortForward(ctx, &cri.PortForwardRequest{PodSandboxId: newest.Id, Port: ports})
	if err != nil {
		return nil, err
	}
	return url.Parse(prepared.Url)
}

// pass hands an upgraded connection on to location.
func (s *Server) pass(location *url.URL) *proxy.UpgradeAwareHandler {
	return proxy.NewUpgradeAwareHandler(location, nil, false, true, responder{s})
}

type responder struct{ s *Server }

func (p responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	p.s.Log.Warn("pass a stream to the runtime", "path", r.URL.Path, "error", err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// run runs a command to its end and answers what it printed.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	pod, err := s.target(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	id, err := s.running(r, pod)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := s.Runtime.ExecSync(r.Context(), &cri.ExecSyncRequest{
		ContainerId: id, Cmd: strings.Split(r.FormValue("cmd"), " "), Timeout: runTimeout,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if answer.ExitCode != 0 {
		http.Error(w, fmt.Sprintf("command terminated with exit code %d: %s%s", answer.ExitCode, answer.Stdout, answer.Stderr), http.StatusInternalServerError)
		return
	}
	w.Write(append(answer.Stdout, answer.Stderr...))
}
