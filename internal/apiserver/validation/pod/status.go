package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
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
	containerStatuses(&l, p, path)
	return l.Errors
}

// containerStatuses checks who containers run as and how their devices are.
func containerStatuses(l *check.List, p *corev1.Pod, path *field.Path) {
	for _, list := range []struct {
		name     string
		statuses []corev1.ContainerStatus
	}{
		{"containerStatuses", p.Status.ContainerStatuses},
		{"initContainerStatuses", p.Status.InitContainerStatuses},
		{"ephemeralContainerStatuses", p.Status.EphemeralContainerStatuses},
	} {
		for i := range list.statuses {
			users(l, &list.statuses[i], p.Spec.OS, path.Child(list.name).Index(i).Child("linux"))
		}
	}
	devices(l, p.Status.ContainerStatuses, p.Spec.Containers, path.Child("containerStatuses"))
	devices(l, p.Status.InitContainerStatuses, p.Spec.InitContainers, path.Child("initContainerStatuses"))
	for i := range p.Status.EphemeralContainerStatuses {
		if len(p.Status.EphemeralContainerStatuses[i].AllocatedResourcesStatus) > 0 {
			l.Forbidden(path.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status")
		}
	}
}

func users(l *check.List, s *corev1.ContainerStatus, os *corev1.PodOS, path *field.Path) {
	if s.User == nil || s.User.Linux == nil {
		return
	}
	user := s.User.Linux
	if os != nil && os.Name != corev1.Linux {
		if os.Name == corev1.Windows {
			l.Forbidden(path, "cannot be set for a windows pod")
		}
		return
	}
	l.Messages(path.Child("uid"), user.UID, validation.IsValidUserID(user.UID))
	l.Messages(path.Child("gid"), user.GID, validation.IsValidGroupID(user.GID))
	for i, gid := range user.SupplementalGroups {
		l.Messages(path.Child("supplementalGroups").Index(i), gid, validation.IsValidGroupID(gid))
	}
}

// devices checks the health of what containers were given: it must be something
// that they asked for. A status of a container that is not there is let pass.
func devices(l *check.List, statuses []corev1.ContainerStatus, containers []corev1.Container, path *field.Path) {
	byName := map[string]*corev1.Container{}
	for i := range containers {
		byName[containers[i].Name] = &containers[i]
	}
	for i := range statuses {
		for j := range statuses[i].AllocatedResourcesStatus {
			s, at := &statuses[i].AllocatedResourcesStatus[j], path.Index(i).Child("allocatedResourcesStatus").Index(j)
			if c := byName[statuses[i].Name]; c != nil {
				asked(l, c, s.Name, at.Child("name"))
			}
			seen := sets.New[corev1.ResourceID]()
			for k, r := range s.Resources {
				one := at.Child("resources").Index(k)
				check.OneOf(l, one.Child("health"), r.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if seen.Has(r.ResourceID) {
					l.Duplicate(one.Child("resourceID"), r.ResourceID)
				}
				seen.Insert(r.ResourceID)
			}
		}
	}
}

func asked(l *check.List, c *corev1.Container, name corev1.ResourceName, path *field.Path) {
	claim, isClaim := strings.CutPrefix(string(name), "claim:")
	if !isClaim {
		if _, ok := c.Resources.Requests[name]; !ok {
			l.Invalid(path, name, "must match one of the container's resource requests")
		}
		return
	}
	for _, r := range c.Resources.Claims {
		whole := r.Name
		if r.Request != "" {
			whole += "/" + r.Request
		}
		if whole == claim {
			return
		}
	}
	l.Invalid(path, name, "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
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
