package engine

import corev1 "k8s.io/api/core/v1"

// hostPort is a port that a pod takes on its node.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

const anyAddress = "0.0.0.0"

// conflicts follows kube-scheduler: the unspecified address takes the port on
// every address.
func (p hostPort) conflicts(q hostPort) bool {
	return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == anyAddress || q.ip == anyAddress)
}

func hostPorts(spec *corev1.PodSpec) []hostPort {
	out := portsOf(nil, spec.Containers)
	for i := range spec.InitContainers {
		if Sidecar(&spec.InitContainers[i]) {
			out = portsOf(out, spec.InitContainers[i:i+1])
		}
	}
	return out
}

func portsOf(out []hostPort, containers []corev1.Container) []hostPort {
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			hp := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
			if hp.ip == "" {
				hp.ip = anyAddress
			}
			if hp.protocol == "" {
				hp.protocol = corev1.ProtocolTCP
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
