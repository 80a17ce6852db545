package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := newList()
	for _, pod := range s.Pods.Pods() {
		list.Items = append(list.Items, *pod)
	}
	s.json(w, list)
}

func newList() *corev1.PodList {
	return &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
}

// runningPods are what runs according to the runtime, whatever the API says.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	containers, err := s.containers(r.Context(), nil, true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := newList()
	at := map[string]int{}
	for _, c := range containers {
		uid := c.Labels[kubelettypes.KubernetesPodUIDLabel]
		if uid == "" {
			continue
		}
		i, ok := at[uid]
		if !ok {
			i = len(list.Items)
			at[uid] = i
			list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Name:      c.Labels[kubelettypes.KubernetesPodNameLabel],
				Namespace: c.Labels[kubelettypes.KubernetesPodNamespaceLabel],
				UID:       types.UID(uid),
			}})
		}
		spec := &list.Items[i].Spec
		spec.Containers = append(spec.Containers, corev1.Container{
			Name:  c.Labels[kubelettypes.KubernetesContainerNameLabel],
			Image: cmp.Or(c.Image.GetUserSpecifiedImage(), c.Image.GetImage()),
		})
	}
	s.json(w, list)
}

// containers asks the runtime, the newest first.
func (s *Server) containers(ctx context.Context, labels map[string]string, running bool) ([]*cri.Container, error) {
	filter := &cri.ContainerFilter{LabelSelector: labels}
	if running {
		filter.State = &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
	}
	answer, err := s.Runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	slices.SortFunc(answer.Containers, func(a, b *cri.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return answer.Containers, nil
}

func (s *Server) json(w http.ResponseWriter, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	if s.Stats == nil {
		http.NotFound(w, r)
		return
	}
	summary, err := s.Stats.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.json(w, summary)
}

// measure writes metrics in the Prometheus text format.
func (s *Server) measure(write func(Stats, context.Context, io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.Stats == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := write(s.Stats, r.Context(), w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
