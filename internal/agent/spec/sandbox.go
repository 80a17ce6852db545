package spec

import (
	"maps"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// Node is what pods' translations depend on besides the pods.
type Node struct {
	// LogDir holds a directory per pod.
	LogDir string
	// SeccompDir holds profiles of type Localhost.
	SeccompDir string
	DNS        DNS
	// MemoryCapacity in bytes scales the out-of-memory scores.
	MemoryCapacity int64
	// UnifiedCgroups is cgroup v2.
	UnifiedCgroups bool
}

// Sandbox returns the configuration of the pod's sandbox. cgroup is the pod's.
func Sandbox(pod *corev1.Pod, attempt uint32, handler, cgroup string, node Node) *cri.PodSandboxConfig {
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		LogDirectory: filepath.Join(node.LogDir, LogDirName(pod)),
		DnsConfig:    node.DNS.For(pod),
		Labels:       sandboxLabels(pod),
		Annotations:  maps.Clone(pod.Annotations),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    cgroup,
			SecurityContext: sandboxSecurity(pod),
		},
	}
	if !pod.Spec.HostNetwork {
		config.Hostname = hostnameInSandbox(pod, node.DNS.Domain)
		config.PortMappings = hostPorts(pod)
	}
	if security := pod.Spec.SecurityContext; security != nil && len(security.Sysctls) > 0 {
		config.Linux.Sysctls = map[string]string{}
		for _, sysctl := range security.Sysctls {
			config.Linux.Sysctls[strings.ReplaceAll(sysctl.Name, "/", ".")] = sysctl.Value
		}
	}
	return config
}

// LogDirName is the directory of a pod's logs, as other programs that collect
// logs on nodes expect it.
func LogDirName(pod *corev1.Pod) string {
	return pod.Namespace + "_" + pod.Name + "_" + string(pod.UID)
}

func sandboxLabels(pod *corev1.Pod) map[string]string {
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, identity(pod))
	return labels
}

func identity(pod *corev1.Pod) map[string]string {
	return map[string]string{
		kubelettypes.KubernetesPodNameLabel:      pod.Name,
		kubelettypes.KubernetesPodNamespaceLabel: pod.Namespace,
		kubelettypes.KubernetesPodUIDLabel:       string(pod.UID),
	}
}

func sandboxSecurity(pod *corev1.Pod) *cri.LinuxSandboxSecurityContext {
	out := &cri.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaces(pod, ""),
		Privileged:       anyPrivileged(pod),
		Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
	}
	if in := pod.Spec.SecurityContext; in != nil {
		out.RunAsUser, out.RunAsGroup = int64Value(in.RunAsUser), int64Value(in.RunAsGroup)
		if out.RunAsUser == nil {
			out.RunAsGroup = nil // a group alone is refused by runtimes
		}
		out.SupplementalGroups = groups(in)
		out.SupplementalGroupsPolicy = groupsPolicy(in)
		out.SelinuxOptions = selinux(in.SELinuxOptions)
	}
	return out
}

// namespaces are the pod's; target is the container whose processes an ephemeral
// container joins, by its ID.
func namespaces(pod *corev1.Pod, target string) *cri.NamespaceOption {
	out := &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: cri.NamespaceMode_CONTAINER, Ipc: cri.NamespaceMode_POD}
	if pod.Spec.HostNetwork {
		out.Network = cri.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		out.Ipc = cri.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		out.Pid = cri.NamespaceMode_NODE
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		out.Pid = cri.NamespaceMode_POD
	case target != "":
		out.Pid, out.TargetId = cri.NamespaceMode_TARGET, target
	}
	return out
}

func anyPrivileged(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && yes(sc.Privileged) {
				return true
			}
		}
	}
	return false
}

func hostPorts(pod *corev1.Pod) []*cri.PortMapping {
	var out []*cri.PortMapping
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, port := range list[i].Ports {
				if port.HostPort == 0 {
					continue
				}
				out = append(out, &cri.PortMapping{
					Protocol:      cri.Protocol(cri.Protocol_value[string(port.Protocol)]),
					ContainerPort: port.ContainerPort,
					HostPort:      port.HostPort,
					HostIp:        port.HostIP,
				})
			}
		}
	}
	return out
}

// maxHostname is the longest the kernel takes.
const maxHostname = 64

// Hostname returns what the pod calls itself and its domain within the cluster,
// "" without a subdomain.
func Hostname(pod *corev1.Pod, clusterDomain string) (host, domain string) {
	if o := pod.Spec.HostnameOverride; o != nil {
		return *o, ""
	}
	host = pod.Spec.Hostname
	if host == "" {
		host = pod.Name
		if len(host) > 63 {
			host = strings.TrimRight(host[:63], "-.")
		}
	}
	if pod.Spec.Subdomain != "" {
		domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + clusterDomain
	}
	return host, domain
}

func hostnameInSandbox(pod *corev1.Pod, clusterDomain string) string {
	host, domain := Hostname(pod, clusterDomain)
	if yes(pod.Spec.SetHostnameAsFQDN) && domain != "" {
		return host + "." + domain
	}
	return host
}

// HostnameTooLong says why the pod's host name cannot be set, "" if it can.
func HostnameTooLong(pod *corev1.Pod, clusterDomain string) string {
	if name := hostnameInSandbox(pod, clusterDomain); len(name) > maxHostname {
		return "the pod's host name " + name + " is longer than the 64 characters that the kernel takes; shorten hostname or subdomain, or unset setHostnameAsFQDN"
	}
	return ""
}

func yes(b *bool) bool { return b != nil && *b }

func int64Value(v *int64) *cri.Int64Value {
	if v == nil {
		return nil
	}
	return &cri.Int64Value{Value: *v}
}
