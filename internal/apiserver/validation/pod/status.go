package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// StatusUpdate checks a changed status.
func StatusUpdate(p, old *corev1.Pod) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	annotations(&l, p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"))
	mirrorStays(&l, p, old)
	for i, c := range p.Status.Conditions {
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			l.QualifiedName(field.NewPath("metadata", "conditions").Index(i).Child("Type"), string(c.Type))
		}
	}
	path := field.NewPath("status")
	if p.Spec.NodeName != old.Spec.NodeName {
		l.Forbidden(path.Child("nodeName"), "may not be changed directly")
	}
	if n := p.Status.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		l.Subdomain(path.Child("nominatedNodeName"), n)
	}
	l.Add(check.Unchanged(p.Status.QOSClass, old.Status.QOSClass, path.Child("qosClass"))...)
	staysEnded(&l, p.Status.ContainerStatuses, old.Status.ContainerStatuses, path.Child("containerStatuses"), restarts(&old.Spec, old.Spec.Containers))
	staysEnded(&l, p.Status.InitContainerStatuses, old.Status.InitContainerStatuses, path.Child("initContainerStatuses"), restarts(&old.Spec, old.Spec.InitContainers))
	// Nobody starts a debugging container again.
	staysEnded(&l, p.Status.EphemeralContainerStatuses, old.Status.EphemeralContainerStatuses, path.Child("ephemeralContainerStatuses"),
		func(string, int32) bool { return false })
	claimStatuses(&l, p, path.Child("resourceClaimStatuses"))
	podIPs := make([]string, len(p.Status.PodIPs))
	for i := range p.Status.PodIPs {
		podIPs[i] = p.Status.PodIPs[i].IP
	}
	ips(&l, podIPs, path.Child("podIPs"))
	hostIPs := make([]string, len(p.Status.HostIPs))
	for i := range p.Status.HostIPs {
		hostIPs[i] = p.Status.HostIPs[i].IP
	}
	if len(hostIPs) > 0 && hostIPs[0] != p.Status.HostIP {
		l.Invalid(path.Child("hostIPs").Index(0).Child("ip"), hostIPs[0], "must be equal to `hostIP`")
	}
	ips(&l, hostIPs, path.Child("hostIPs"))
	return l.Errors
}

// restarts returns whether a container of list may run again after it ended.
func restarts(s *corev1.PodSpec, list []corev1.Container) func(name string, exitCode int32) bool {
	byName := map[string]*corev1.Container{}
	for i := range list {
		byName[list[i].Name] = &list[i]
	}
	return func(name string, exitCode int32) bool {
		if c := byName[name]; c != nil && (c.RestartPolicy != nil || len(c.RestartPolicyRules) > 0) {
			return len(c.RestartPolicyRules) > 0 || *c.RestartPolicy == corev1.ContainerRestartPolicyAlways ||
				*c.RestartPolicy == corev1.ContainerRestartPolicyOnFailure && exitCode != 0
		}
		// One container's rules may have all of them started again.
		for i := range s.Containers {
			if len(s.Containers[i].RestartPolicyRules) > 0 {
				return true
			}
		}
		return s.RestartPolicy == corev1.RestartPolicyAlways || s.RestartPolicy == corev1.RestartPolicyOnFailure && exitCode != 0
	}
}

// staysEnded refuses to report a container as not ended that ended for good.
func staysEnded(l *check.List, now, old []corev1.ContainerStatus, path *field.Path, again func(name string, exitCode int32) bool) {
	for i := range old {
		ended := old[i].State.Terminated
		if ended == nil || again(old[i].Name, ended.ExitCode) {
			continue
		}
		for j := range now {
			if now[j].Name == old[i].Name && now[j].State.Terminated == nil {
				l.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state")
			}
		}
	}
}

func claimStatuses(l *check.List, p *corev1.Pod, path *field.Path) {
	known, seen := sets.New[string](), sets.New[string]()
	for _, c := range p.Spec.ResourceClaims {
		known.Insert(c.Name)
	}
	for i, s := range p.Status.ResourceClaimStatuses {
		at := path.Index(i).Child("name")
		if !known.Has(s.Name) {
			l.Invalid(at, s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen.Has(s.Name) {
			l.Duplicate(at, s.Name)
		}
		seen.Insert(s.Name)
		if n := s.ResourceClaimName; n != nil {
			l.Subdomain(at, *n)
		}
	}
}

// ips checks a list of addresses: at most one of each family.
func ips(l *check.List, list []string, path *field.Path) {
	seen := sets.New[string]()
	for i, ip := range list {
		l.IP(path.Index(i), ip)
		if seen.Has(ip) {
			l.Duplicate(path.Index(i), ip)
		}
		seen.Insert(ip)
	}
	if len(list) < 2 {
		return
	}
	if dual, err := netutils.IsDualStackIPStrings(list); err != nil || !dual || len(list) > 2 {
		l.Invalid(path, list, "may specify no more than one IP for each IP family")
	}
}
