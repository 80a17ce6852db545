package pod

import (
	"fmt"
	"math"
	"slices"
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
	path := field.NewPath("status")
	podConditions(&l, p.Status.Conditions, path.Child("conditions"))
	if p.Spec.NodeName != old.Spec.NodeName {
		l.Forbidden(path.Child("nodeName"), "may not be changed directly")
	}
	if n := p.Status.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		l.Subdomain(path.Child("nominatedNodeName"), n)
		if old.Spec.NodeName != "" {
			l.Forbidden(path.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if n := p.Status.ObservedGeneration; n < 0 {
		l.Invalid(path.Child("observedGeneration"), n, notNegative)
	}
	l.Add(check.Unchanged(p.Status.QOSClass, old.Status.QOSClass, path.Child("qosClass"))...)
	staysEnded(&l, p.Status.ContainerStatuses, old.Status.ContainerStatuses, path.Child("containerStatuses"), restarts(&old.Spec, old.Spec.Containers))
	staysEnded(&l, p.Status.InitContainerStatuses, old.Status.InitContainerStatuses, path.Child("initContainerStatuses"), restarts(&old.Spec, old.Spec.InitContainers))
	// Nobody starts a debugging container again.
	staysEnded(&l, p.Status.EphemeralContainerStatuses, old.Status.EphemeralContainerStatuses, path.Child("ephemeralContainerStatuses"),
		func(string, int32) bool { return false })
	claimStatuses(&l, p, path.Child("resourceClaimStatuses"))
	extendedClaim(&l, p.Status.ExtendedResourceClaimStatus, &p.Spec, path.Child("extendedResourceClaimStatus"))
	addresses(&l, &p.Status, &old.Status, path)
	containerStatuses(&l, p, path)
	return l.Errors
}

const notNegative = "must be a non-negative integer"

func podConditions(l *check.List, list []corev1.PodCondition, path *field.Path) {
	for i, c := range list {
		if c.ObservedGeneration < 0 {
			l.Invalid(path.Index(i).Child("observedGeneration"), c.ObservedGeneration, notNegative)
		}
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			l.QualifiedName(path.Index(i).Child("Type"), string(c.Type))
		}
	}
}

// addresses checks those of the pod and of its node: each list begins with the
// one address that clients before dual stack read.
func addresses(l *check.List, s, old *corev1.PodStatus, path *field.Path) {
	at := path.Child("podIPs")
	podIPs := podAddresses(s.PodIPs)
	ips(l, podIPs, podAddresses(old.PodIPs), at)
	switch one, many := s.PodIP != "", len(podIPs) > 0; {
	case one != many:
		l.Invalid(at, s.PodIPs, "podIP and podIPs must either both be set or both be unset")
	case many && s.PodIP != podIPs[0]:
		l.Invalid(at.Index(0).Child("ip"), podIPs[0], "must be equal to `podIP`")
	}
	at = path.Child("hostIPs")
	hostIPs := hostAddresses(s.HostIPs)
	if len(hostIPs) > 0 && hostIPs[0] != s.HostIP {
		l.Invalid(at.Index(0).Child("ip"), hostIPs[0], "must be equal to `hostIP`")
	}
	ips(l, hostIPs, hostAddresses(old.HostIPs), at)
}

func podAddresses(list []corev1.PodIP) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].IP
	}
	return out
}

func hostAddresses(list []corev1.HostIP) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].IP
	}
	return out
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
			users(l, &list.statuses[i], p.Spec.OS, path.Child(list.name).Index(i).Child("user", "linux"))
		}
	}
	extended := p.Status.ExtendedResourceClaimStatus
	devices(l, p.Status.ContainerStatuses, p.Spec.Containers, extended, path.Child("containerStatuses"))
	devices(l, p.Status.InitContainerStatuses, p.Spec.InitContainers, extended, path.Child("initContainerStatuses"))
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
	// A runtime reports any user that Linux has; a spec names fewer.
	if user.UID < 0 || user.UID > math.MaxUint32 {
		l.Invalid(path.Child("uid"), user.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32)))
	}
	l.Messages(path.Child("gid"), user.GID, validation.IsValidGroupID(user.GID))
	for i, gid := range user.SupplementalGroups {
		l.Messages(path.Child("supplementalGroups").Index(i), gid, validation.IsValidGroupID(gid))
	}
}

// devices checks the health of what containers were given: it must be something
// that they asked for. A status of a container that is not there is let pass.
func devices(l *check.List, statuses []corev1.ContainerStatus, containers []corev1.Container, extended *corev1.PodExtendedResourceClaimStatus, path *field.Path) {
	byName := map[string]*corev1.Container{}
	for i := range containers {
		byName[containers[i].Name] = &containers[i]
	}
	for i := range statuses {
		for j := range statuses[i].AllocatedResourcesStatus {
			s, at := &statuses[i].AllocatedResourcesStatus[j], path.Index(i).Child("allocatedResourcesStatus").Index(j)
			if c := byName[statuses[i].Name]; c != nil {
				asked(l, c, extended, s.Name, at.Child("name"))
			}
			seen := sets.New[corev1.ResourceID]()
			for k, r := range s.Resources {
				one := at.Child("resources").Index(k)
				check.OneOf(l, one.Child("health"), r.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if m := r.Message; m != nil && *m == "" {
					l.Required(one.Child("message"), "must be non-empty if specified")
				} else if m != nil && len(*m) > corev1.ResourceHealthMessageMaxLength {
					l.Add(field.TooLong(one.Child("message"), "", corev1.ResourceHealthMessageMaxLength))
				}
				if seen.Has(r.ResourceID) {
					l.Duplicate(one.Child("resourceID"), r.ResourceID)
				}
				seen.Insert(r.ResourceID)
			}
		}
	}
}

func asked(l *check.List, c *corev1.Container, extended *corev1.PodExtendedResourceClaimStatus, name corev1.ResourceName, path *field.Path) {
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
	if extendedRequest(c, extended, claim) {
		return
	}
	l.Invalid(path, name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")
}

// restarts returns whether a container of list may run again after it ended.
func restarts(s *corev1.PodSpec, list []corev1.Container) func(name string, exitCode int32) bool {
	byName := map[string]*corev1.Container{}
	for i := range list {
		byName[list[i].Name] = &list[i]
	}
	return func(name string, exitCode int32) bool {
		if restartsAll(s.InitContainers) || restartsAll(s.Containers) {
			return true
		}
		if c := byName[name]; c != nil && c.RestartPolicy != nil {
			return ruled(c.RestartPolicyRules, exitCode) || *c.RestartPolicy == corev1.ContainerRestartPolicyAlways ||
				*c.RestartPolicy == corev1.ContainerRestartPolicyOnFailure && exitCode != 0
		}
		return s.RestartPolicy == corev1.RestartPolicyAlways || s.RestartPolicy == corev1.RestartPolicyOnFailure && exitCode != 0
	}
}

// restartsAll tells whether the end of one of list may start the whole pod again.
func restartsAll(list []corev1.Container) bool {
	for i := range list {
		for _, r := range list[i].RestartPolicyRules {
			if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// ruled tells whether the first rule that knows an exit code restarts for it.
func ruled(rules []corev1.ContainerRestartRule, exitCode int32) bool {
	for _, r := range rules {
		if r.ExitCodes == nil {
			continue
		}
		in := slices.Contains(r.ExitCodes.Values, exitCode)
		if in == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return r.Action == corev1.ContainerRestartRuleActionRestart
		}
	}
	return false
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

// extendedRequest tells whether claim, "name/request", is what the container
// was given for an extended resource that it asked for.
func extendedRequest(c *corev1.Container, s *corev1.PodExtendedResourceClaimStatus, claim string) bool {
	name, request, _ := strings.Cut(claim, "/")
	if s == nil || request == "" || name == "" || name != s.ResourceClaimName {
		return false
	}
	for _, m := range s.RequestMappings {
		q, asked := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]
		if m.ContainerName == c.Name && m.RequestName == request && asked && !q.IsZero() {
			return true
		}
	}
	return false
}

// extendedClaim checks the claim that was made for a pod's extended resources.
func extendedClaim(l *check.List, s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, path *field.Path) {
	if s == nil {
		return
	}
	byName := map[string]*corev1.Container{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			byName[list[i].Name] = &list[i]
		}
	}
	mappings := path.Child("requestMappings")
	if len(s.RequestMappings) == 0 {
		l.Required(mappings, "at least one request mapping is required")
	}
	seen := sets.New[corev1.ContainerExtendedResourceRequest]()
	for i, m := range s.RequestMappings {
		at := mappings.Index(i)
		if c := byName[m.ContainerName]; c == nil {
			l.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			l.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		l.Label(path.Child("requestName"), m.RequestName)
		if seen.Has(m) {
			l.Duplicate(at.Child("containerName"), m.ContainerName)
			l.Duplicate(at.Child("resourceName"), m.ResourceName)
			l.Duplicate(at.Child("requestName"), m.RequestName)
		}
		seen.Insert(m)
	}
	if s.ResourceClaimName == "" {
		l.Required(path.Child("resourceClaimName"), "")
	} else {
		l.Subdomain(path.Child("resourceClaimName"), s.ResourceClaimName)
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
			l.Subdomain(path.Index(i).Child("resourceClaimName"), *n)
		}
	}
}

// ips checks a list of addresses: at most one of each family. Addresses that
// were there before may be such as are not accepted any more.
func ips(l *check.List, list, old []string, path *field.Path) {
	for i, ip := range list {
		l.Add(validation.IsValidIPForLegacyField(path.Index(i), ip, true, old)...)
	}
	if len(list) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(list)
	if err != nil {
		l.Add(field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !dual || len(list) > 2 {
		l.Invalid(path, list, "may specify no more than one IP for each IP family")
	}
}
