package admit

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func pod(cpu string, change func(*corev1.PodSpec)) *corev1.Pod {
	c := corev1.Container{Name: "a"}
	if cpu != "" {
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func port(n int32, ip string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Ports = []corev1.ContainerPort{{HostPort: n, HostIP: ip, Protocol: corev1.ProtocolTCP}}
	}
}

func asks(name corev1.ResourceName) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse("2")}
	}
}

// claimedPod is a pod that has two of a resource by the claim that was made for it.
func claimedPod(name corev1.ResourceName) *corev1.Pod {
	p := pod("", func(s *corev1.PodSpec) {
		asks(name)(s)
		s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c", RequestMappings: []corev1.ContainerExtendedResourceRequest{
		{ContainerName: "a", ResourceName: string(name), RequestName: "r"}}}
	return p
}

func sysctl(name string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
	}
}

func TestCheck(t *testing.T) {
	node := &corev1.Node{}
	node.Labels = map[string]string{"disk": "ssd"}
	node.Spec.Taints = []corev1.Taint{{Key: "bad", Effect: corev1.TaintEffectNoExecute}, {Key: "full", Effect: corev1.TaintEffectNoSchedule}}
	node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourcePods: resource.MustParse("2"), "example.com/gpu": resource.MustParse("1"),
	}
	good := func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }
	and := func(changes ...func(*corev1.PodSpec)) func(*corev1.PodSpec) {
		return func(s *corev1.PodSpec) {
			for _, change := range changes {
				change(s)
			}
		}
	}
	taken := pod("1500m", port(80, ""))
	tests := []struct {
		name         string
		pod          *corev1.Pod
		others       []*corev1.Pod
		want, detail string
	}{
		{"fits", pod("500m", good), []*corev1.Pod{taken}, "", ""},
		{"too much", pod("501m", good), []*corev1.Pod{taken}, "OutOfcpu", "requested: 501, used: 1500, capacity: 2000"},
		{"too many", pod("", good), []*corev1.Pod{taken, taken}, "OutOfpods", "requested: 1, used: 2, capacity: 2"},
		{"not such a node", pod("", and(good, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "tape"} })), nil, "NodeAffinity", "didn't match"},
		{"such a node", pod("", and(good, func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"disk": "ssd"} })), nil, "", ""},
		{"driven off", pod("", nil), nil, "TaintToleration", "bad"},
		{"port taken", pod("", and(good, port(80, "127.0.0.1"))), []*corev1.Pod{taken}, "NodePorts", "free ports"},
		{"port free", pod("", and(good, port(81, ""))), []*corev1.Pod{taken}, "", ""},
		{"another system", pod("", and(good, func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} })), nil, "PodOSNotSupported", ""},
		{"its own setting", pod("", and(good, sysctl("net.ipv4.tcp_syncookies"))), nil, "", ""},
		{"the node's setting", pod("", and(good, sysctl("kernel/msgmax"))), nil, "SysctlForbidden", "\"kernel.msgmax\" not allowlisted"},
		{"on the host's network", pod("", and(good, sysctl("net.ipv4.tcp_syncookies"), func(s *corev1.PodSpec) { s.HostNetwork = true })), nil, "SysctlForbidden", "host net"},
		{"extended", pod("", and(good, asks("example.com/gpu"))), nil, "OutOfexample.com/gpu", "requested: 2, used: 0, capacity: 1"},
		{"extended, of the cluster", pod("", and(good, asks("example.com/license"))), nil, "", ""},
		{"extended, by a claim", claimedPod("example.com/gpu"), nil, "", ""},
		{"of a class, by a claim", claimedPod("deviceclass.resource.kubernetes.io/gpu"), nil, "", ""},
		{"of a class", pod("", and(good, asks("deviceclass.resource.kubernetes.io/gpu"))), nil, "OutOfdeviceclass.resource.kubernetes.io/gpu", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refusal := Check(test.pod, test.others, node)
			switch {
			case refusal == nil && test.want != "":
				t.Errorf("taken, want %s", test.want)
			case refusal != nil && (refusal.Reason != test.want || !strings.Contains(refusal.Message, test.detail)):
				t.Errorf("refused for %+v, want %s %s", refusal, test.want, test.detail)
			}
		})
	}
}
