package server

import (
	"fmt"
	"net/http"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// metrics are the kubelet's counts of pods and containers, and what the agent
// adds of its own.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	boxes, err := s.Runtime.ListPodSandbox(r.Context(), &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{
		State: &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY}}})
	if err != nil {
		http.Error(w, "list sandboxes: "+err.Error(), http.StatusInternalServerError)
		return
	}
	containers, err := s.containers(r.Context(), nil, false)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	states := map[cri.ContainerState]int{}
	for _, c := range containers {
		states[c.State]++
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintf(w, "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\nkubelet_node_name{node=%q} 1\n", s.options.NodeName)
	fmt.Fprintf(w, "# HELP kubelet_running_pods [BETA] Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n", len(boxes.Items))
	fmt.Fprint(w, "# HELP kubelet_running_containers [BETA] Number of containers currently running\n# TYPE kubelet_running_containers gauge\n")
	for state := range cri.ContainerState(len(cri.ContainerState_name)) {
		name := strings.ToLower(strings.TrimPrefix(state.String(), "CONTAINER_"))
		fmt.Fprintf(w, "kubelet_running_containers{container_state=%q} %d\n", name, states[state])
	}
	if s.Metrics != nil {
		s.Metrics.ServeHTTP(w, r)
	}
}
