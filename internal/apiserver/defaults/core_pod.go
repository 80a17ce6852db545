package defaults

import (
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
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
	hugePageLimits(p)
	podRequests(p)
	orNew(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	PodSpec(spec)
	podStatus(&p.Status)
}

// podRequests completes pod-level requests where pod-level limits are set: the
// sum of what containers ask, or else the limit.
func podRequests(p *corev1.Pod) {
	pr := p.Spec.Resources
	if pr == nil || len(pr.Limits) == 0 {
		return
	}
	requests := pr.Requests
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	for name, quantity := range resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}) {
		if _, ok := requests[name]; !ok && resource.IsSupportedPodLevelResource(name) && !isHugePage(name) {
			requests[name] = quantity.DeepCopy()
		}
	}
	for name, quantity := range pr.Limits {
		if _, ok := requests[name]; !ok && resource.IsSupportedPodLevelResource(name) {
			requests[name] = quantity.DeepCopy()
		}
	}
	if len(requests) > 0 {
		pr.Requests = requests
	}
}

// hugePageLimits raises the containers' huge page limits to the pod where
// pod-level resources are partly given.
func hugePageLimits(p *corev1.Pod) {
	pr := p.Spec.Resources
	if pr == nil || len(pr.Limits) == 0 && len(pr.Requests) == 0 {
		return
	}
	limits := pr.Limits
	if limits == nil {
		limits = corev1.ResourceList{}
	}
	for name, quantity := range resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}) {
		if !resource.IsSupportedPodLevelResource(name) || !isHugePage(name) {
			continue
		}
		if _, requested := pr.Requests[name]; requested {
			continue
		}
		if _, ok := limits[name]; !ok {
			limits[name] = quantity.DeepCopy()
		}
	}
	if len(limits) > 0 {
		pr.Limits = limits
	}
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
	orElse(&c.ImagePullPolicy, pullPolicy(c.Image))
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
