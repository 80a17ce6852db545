package demand

import corev1 "k8s.io/api/core/v1"

// Port is a port that a pod takes on its node.
type Port struct {
	IP       string
	Protocol corev1.Protocol
	Number   int32
}

const anyAddress = "0.0.0.0"

// Conflicts follows kube-scheduler: the unspecified address takes the port on
// every address.
func (p Port) Conflicts(q Port) bool {
	return p.Number == q.Number && p.Protocol == q.Protocol && (p.IP == q.IP || p.IP == anyAddress || q.IP == anyAddress)
}

// Ports are the ports that a pod takes on its node.
func Ports(spec *corev1.PodSpec) []Port {
	out := portsOf(nil, spec.Containers)
	for i := range spec.InitContainers {
		if Sidecar(&spec.InitContainers[i]) {
			out = portsOf(out, spec.InitContainers[i:i+1])
		}
	}
	return out
}

func portsOf(out []Port, containers []corev1.Container) []Port {
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			hp := Port{IP: p.HostIP, Protocol: p.Protocol, Number: p.HostPort}
			if hp.IP == "" {
				hp.IP = anyAddress
			}
			if hp.Protocol == "" {
				hp.Protocol = corev1.ProtocolTCP
			}
			out = append(out, hp)
		}
	}
	return out
}

// Sidecar reports whether an init container goes on running beside the others.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
