package defaults

import (
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"
)

// pod applies what holds for pods alone before what holds for every pod spec:
// requests follow limits, and host ports follow container ports, only in a
// real pod, so that a template shows what its author wrote.
func pod(p *corev1.Pod) {
	spec := &p.Spec
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			if r := &containers[i].Resources; r.Limits != nil {
				fill(&r.Requests, r.Limits)
			}
			for j := range containers[i].Ports {
				if port := &containers[i].Ports[j]; spec.HostNetwork {
					orElse(&port.HostPort, port.ContainerPort)
				}
			}
		}
	}
	orNew(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if g := spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		one := int64(1) // what such a period has always been taken for
		spec.TerminationGracePeriodSeconds = &one
	}
	PodSpec(spec)
	podStatus(&p.Status)
}

// PodLevelResources completes what is given for a pod as a whole. It is done
// when a pod is written and not when one is read: admission may first have
// changed what the containers ask for.
func PodLevelResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits)+len(r.Requests) == 0 {
		return
	}
	only := &corev1.Pod{Spec: corev1.PodSpec{Containers: p.Spec.Containers, InitContainers: p.Spec.InitContainers}}
	hugePageLimits(r, only)
	podRequests(r, only)
	podLimits(r, only)
}

// hugePageLimits are the sum of the containers'.
func hugePageLimits(r *corev1.ResourceRequirements, p *corev1.Pod) {
	for name, quantity := range resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}) {
		if !resource.IsSupportedPodLevelResource(name) || !isHugePage(name) {
			continue
		}
		if _, requested := r.Requests[name]; !requested {
			setDefault(&r.Limits, name, quantity)
		}
	}
}

// podRequests are the sum of what containers ask, or else the limit.
func podRequests(r *corev1.ResourceRequirements, p *corev1.Pod) {
	for name, quantity := range resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}) {
		if resource.IsSupportedPodLevelResource(name) && !isHugePage(name) {
			setDefault(&r.Requests, name, quantity)
		}
	}
	for name, quantity := range r.Limits {
		if resource.IsSupportedPodLevelResource(name) {
			setDefault(&r.Requests, name, quantity)
		}
	}
}

// podLimits are the sum of the containers' where each of them has one, and no
// less than the request.
func podLimits(r *corev1.ResourceRequirements, p *corev1.Pod) {
	sum := resource.AggregateContainerLimits(p, resource.PodResourcesOptions{})
	for name, request := range r.Requests {
		limit, ok := sum[name]
		if !ok || !resource.IsSupportedPodLevelResource(name) || !allLimited(p, name) {
			continue
		}
		if request.Cmp(limit) > 0 {
			limit = request
		}
		setDefault(&r.Limits, name, limit)
	}
}

func allLimited(p *corev1.Pod, name corev1.ResourceName) bool {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if _, ok := list[i].Resources.Limits[name]; !ok {
				return false
			}
		}
	}
	return true
}

func setDefault(list *corev1.ResourceList, name corev1.ResourceName, quantity apiresource.Quantity) {
	if _, ok := (*list)[name]; ok {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = quantity.DeepCopy()
}

func isHugePage(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func podStatus(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	for _, statuses := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range statuses {
			Resources(statuses[i].AllocatedResources)
			if r := statuses[i].Resources; r != nil {
				Resources(r.Limits, r.Requests)
			}
		}
	}
	Resources(s.AllocatedResources)
	if s.Resources != nil {
		Resources(s.Resources.Limits, s.Resources.Requests)
	}
}

// PodSpec applies the defaults of a pod spec wherever it stands: in a pod or
// in the template of a workload.
func PodSpec(spec *corev1.PodSpec) {
	orElse(&spec.DNSPolicy, corev1.DNSClusterFirst)
	orElse(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	orElse(&spec.SchedulerName, corev1.DefaultSchedulerName)
	orNew(&spec.SecurityContext, corev1.PodSecurityContext{})
	orNew(&spec.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	orElse(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName

	for i := range spec.Volumes {
		volume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		container(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		container(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		container((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	Resources(spec.Overhead)
	if spec.Resources != nil {
		Resources(spec.Resources.Limits, spec.Resources.Requests)
	}
}

func container(c *corev1.Container) {
	if c.ImagePullPolicy == "" { // each read from the store comes here, and parsing an image is dear
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	orElse(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	orElse(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		orElse(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if from.FieldRef != nil {
			orElse(&from.FieldRef.APIVersion, "v1")
		}
		if from.FileKeyRef != nil {
			orNew(&from.FileKeyRef.Optional, false)
		}
	}
	Resources(c.Resources.Limits, c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			probe(p)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil {
			httpGet(h.HTTPGet)
		}
	}
}

func probe(p *corev1.Probe) {
	orElse(&p.TimeoutSeconds, 1)
	orElse(&p.PeriodSeconds, 10)
	orElse(&p.SuccessThreshold, 1)
	orElse(&p.FailureThreshold, 3)
	httpGet(p.HTTPGet)
	if p.GRPC != nil {
		orNew(&p.GRPC.Service, "")
	}
}

func httpGet(a *corev1.HTTPGetAction) {
	if a == nil {
		return
	}
	orElse(&a.Path, "/")
	orElse(&a.Scheme, corev1.URISchemeHTTP)
}

// pullPolicy is Always for the latest tag, named or meant, else IfNotPresent.
// An image that does not parse is left to validation.
func pullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}
