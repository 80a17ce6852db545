package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/logs"
)

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	options, err := parseLogOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := checkLogOptions(options); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	pod, ok := s.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	name := r.PathValue("container")
	if !hasContainer(pod, name) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return
	}
	id, err := logContainer(pod, name, options.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := s.Runtime.ContainerStatus(r.Context(), &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil || answer.Status.GetLogPath() == "" {
		http.Error(w, fmt.Sprintf("unable to retrieve container logs for %s", id), http.StatusBadRequest)
		return
	}
	out := &logWriter{Writer: bufio.NewWriterSize(w, 32<<10)}
	read := s.readOptions(id, options, out, func() { http.NewResponseController(w).Flush() })
	stdout, stderr := streams(options.Stream, out)
	w.Header().Set("Content-Type", "text/plain")
	err = logs.Read(r.Context(), answer.Status.LogPath, read, stdout, stderr)
	if err != nil && r.Context().Err() == nil {
		if !out.written {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.Log.Warn("read container log", "container", id, "error", err)
	}
	out.Flush()
}

// readOptions translates what was asked. Following, what was read is sent
// before there is nothing more to read.
func (s *Server) readOptions(id string, options *corev1.PodLogOptions, out *logWriter, flush func()) logs.ReadOptions {
	read := logs.ReadOptions{
		Tail: options.TailLines, LimitBytes: options.LimitBytes,
		Timestamps: options.Timestamps, Follow: options.Follow,
		Idle: func() error {
			err := out.Flush()
			flush()
			return err
		},
		Running: func(ctx context.Context) (bool, error) {
			answer, err := s.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
			if status.Code(err) == codes.Unavailable {
				return true, nil // containers outlive the runtime
			}
			return err == nil && answer.Status.GetState() == cri.ContainerState_CONTAINER_RUNNING, nil
		},
	}
	switch {
	case options.SinceSeconds != nil:
		read.Since = time.Now().Add(-time.Duration(*options.SinceSeconds) * time.Second)
	case options.SinceTime != nil:
		read.Since = options.SinceTime.Time
	}
	return read
}

// logWriter remembers whether anything was written: until then an error may
// still be answered with its status.
type logWriter struct {
	*bufio.Writer
	written bool
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.written = true
	return w.Writer.Write(p)
}

func streams(stream *string, out io.Writer) (stdout, stderr io.Writer) {
	if stream == nil || *stream != corev1.LogStreamStderr {
		stdout = out
	}
	if stream == nil || *stream != corev1.LogStreamStdout {
		stderr = out
	}
	return stdout, stderr
}

// parseLogOptions reads a query in the form of PodLogOptions.
func parseLogOptions(query url.Values) (*corev1.PodLogOptions, error) {
	options := &corev1.PodLogOptions{}
	if tail := query.Get("tail"); tail != "" && tail != "all" {
		query.Set("tailLines", tail)
	}
	flags := map[string]*bool{"follow": &options.Follow, "previous": &options.Previous, "timestamps": &options.Timestamps}
	for name, flag := range flags {
		if value, ok := query[name]; ok && len(value) > 0 {
			// As everywhere in the API: present without a value is true.
			*flag = value[0] != "false" && value[0] != "0"
		}
	}
	numbers := map[string]**int64{"tailLines": &options.TailLines, "limitBytes": &options.LimitBytes, "sinceSeconds": &options.SinceSeconds}
	for name, number := range numbers {
		text := query.Get(name)
		if text == "" {
			continue
		}
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf(`{"message": "Unable to decode query: %s is not a number."}`, name)
		}
		*number = &value
	}
	if text := query.Get("sinceTime"); text != "" {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, errors.New(`{"message": "Unable to decode query: sinceTime is not a time."}`)
		}
		options.SinceTime = &metav1.Time{Time: when}
	}
	if stream := query.Get("stream"); stream != "" {
		options.Stream = &stream
	}
	return options, nil
}

func checkLogOptions(o *corev1.PodLogOptions) error {
	var wrong []string
	if o.TailLines != nil && *o.TailLines < 0 {
		wrong = append(wrong, "tailLines must not be negative")
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		wrong = append(wrong, "limitBytes must be greater than 0")
	}
	if o.SinceSeconds != nil && *o.SinceSeconds < 1 {
		wrong = append(wrong, "sinceSeconds must be greater than 0")
	}
	if o.SinceSeconds != nil && o.SinceTime != nil {
		wrong = append(wrong, "at most one of sinceTime or sinceSeconds may be given")
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamAll:
		case corev1.LogStreamStdout, corev1.LogStreamStderr:
			if o.TailLines != nil {
				wrong = append(wrong, "tailLines and a single stream exclude each other")
			}
		default:
			wrong = append(wrong, "stream must be All, Stdout or Stderr")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf(`{"message": "Invalid request: %s."}`, strings.Join(wrong, ", "))
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return true
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// logContainer is the id of the instance whose log is meant, or why there is none.
func logContainer(pod *corev1.Pod, name string, previous bool) (string, error) {
	var found *corev1.ContainerStatus
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				found = &list[i]
			}
		}
	}
	if found == nil {
		return "", fmt.Errorf("container %q in pod %q is not available", name, pod.Name)
	}
	id := ""
	last := ""
	if ended := found.LastTerminationState.Terminated; ended != nil {
		last = bare(ended.ContainerID)
	}
	switch state := &found.State; {
	case previous:
		if last == "" {
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", name, pod.Name)
		}
		id = last
	case state.Running != nil:
		id = bare(found.ContainerID)
	case state.Terminated != nil && state.Terminated.ContainerID != "":
		id = bare(state.Terminated.ContainerID)
	case last != "":
		id = last
	case state.Terminated != nil:
		return "", fmt.Errorf("container %q in pod %q is terminated", name, pod.Name)
	case state.Waiting != nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %s", name, pod.Name, waiting(state.Waiting.Reason))
	}
	if id == "" {
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", name, pod.Name)
	}
	return id, nil
}

func waiting(reason string) string {
	switch reason {
	case "ErrImagePull":
		return "image can't be pulled"
	case "ImagePullBackOff":
		return "trying and failing to pull image"
	}
	return reason
}

// bare takes the runtime's name off a container's id in the API.
func bare(id string) string {
	_, bare, ok := strings.Cut(id, "://")
	if !ok {
		return id
	}
	return bare
}
