package agent_test

import (
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheNodeSaysWhatItIs(t *testing.T) {
	r := newRig(t)
	node, err := r.admin.CoreV1().Nodes().Get(r.context(), nodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		corev1.LabelHostname: nodeName, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	} {
		if got := node.Labels[key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	if cpus := node.Status.Capacity.Cpu().Value(); cpus != int64(runtime.NumCPU()) {
		t.Errorf("it says it has %d processors", cpus)
	}
	if have, left := node.Status.Capacity.Memory(), node.Status.Allocatable.Memory(); left.Cmp(*have) >= 0 || left.Value() <= 0 {
		t.Errorf("of %s memory %s are for pods", have, left)
	}
	info := node.Status.NodeInfo
	if info.KernelVersion == "" || info.BootID == "" || info.OSImage == "" || info.ContainerRuntimeVersion[:len("containerd://")] != "containerd://" {
		t.Errorf("node info is %+v", info)
	}
	if node.Status.DaemonEndpoints.KubeletEndpoint.Port == 0 || len(node.Status.Images) == 0 {
		t.Errorf("port %d, images %v", node.Status.DaemonEndpoints.KubeletEndpoint.Port, node.Status.Images)
	}
	lease, err := r.admin.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(r.context(), nodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *lease.Spec.HolderIdentity != nodeName || time.Since(lease.Spec.RenewTime.Time) > time.Minute {
		t.Errorf("lease is %+v", lease.Spec)
	}
	// A node that somebody deleted comes back.
	if err := r.admin.CoreV1().Nodes().Delete(r.context(), nodeName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.nodeReady()
}
