package admit

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safe are the kernel's settings that a pod may change: they are its own, and
// cannot hurt another.
func safe() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
		"net.ipv4.tcp_syncookies",
	}
}

// forbiddenSysctl says which of the pod's settings the node does not make, "" if none.
func forbiddenSysctl(pod *corev1.Pod) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, sysctl := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(sysctl.Name, "/", ".")
		switch {
		case !slices.Contains(safe(), name):
			return fmt.Sprintf("%q not allowlisted", name)
		case pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			return fmt.Sprintf("%q not allowed with host net enabled", name)
		case pod.Spec.HostIPC && strings.HasPrefix(name, "kernel."):
			return fmt.Sprintf("%q not allowed with host ipc enabled", name)
		}
	}
	return ""
}
