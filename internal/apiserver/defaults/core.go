package defaults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Core adds the defaulting functions of the core group to scheme.
//
// Besides the published defaults they keep in step the pairs of fields that
// say one thing twice (spec.serviceAccount, status.podIP, spec.podCIDR): the
// versioned types are the hub, so no conversion does it later.
func Core(scheme *runtime.Scheme) error {
	add(scheme, pod)
	add(scheme, func(l *corev1.PodList) { each(l.Items, pod) })
	add(scheme, podTemplate)
	add(scheme, func(l *corev1.PodTemplateList) { each(l.Items, podTemplate) })
	add(scheme, replicationController)
	add(scheme, func(l *corev1.ReplicationControllerList) { each(l.Items, replicationController) })
	add(scheme, service)
	add(scheme, func(l *corev1.ServiceList) { each(l.Items, service) })
	add(scheme, endpoints)
	add(scheme, func(l *corev1.EndpointsList) { each(l.Items, endpoints) })
	add(scheme, namespace)
	add(scheme, func(l *corev1.NamespaceList) { each(l.Items, namespace) })
	add(scheme, node)
	add(scheme, func(l *corev1.NodeList) { each(l.Items, node) })
	add(scheme, secret)
	add(scheme, func(l *corev1.SecretList) { each(l.Items, secret) })
	add(scheme, configMap)
	add(scheme, func(l *corev1.ConfigMapList) { each(l.Items, configMap) })
	add(scheme, limitRange)
	add(scheme, func(l *corev1.LimitRangeList) { each(l.Items, limitRange) })
	add(scheme, resourceQuota)
	add(scheme, func(l *corev1.ResourceQuotaList) { each(l.Items, resourceQuota) })
	add(scheme, persistentVolume)
	add(scheme, func(l *corev1.PersistentVolumeList) { each(l.Items, persistentVolume) })
	add(scheme, PersistentVolumeClaim)
	add(scheme, func(l *corev1.PersistentVolumeClaimList) { each(l.Items, PersistentVolumeClaim) })
	return nil
}

// add registers a typed defaulting function.
func add[T any, P interface {
	*T
	runtime.Object
}](scheme *runtime.Scheme, fn func(P)) {
	scheme.AddTypeDefaultingFunc(P(new(T)), func(obj any) { fn(obj.(P)) })
}

func each[T any](items []T, fn func(*T)) {
	for i := range items {
		fn(&items[i])
	}
}

// orElse sets *field to value when it is the zero value.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// orNew points *field at value when it is nil.
func orNew[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// Resources rounds every quantity up to milli scale, the finest that the API
// stores.
func Resources(lists ...corev1.ResourceList) {
	for _, list := range lists {
		for name, quantity := range list {
			quantity.RoundUp(resource.Milli)
			list[name] = quantity
		}
	}
}

func podTemplate(t *corev1.PodTemplate) { PodSpec(&t.Template.Spec) }

func replicationController(rc *corev1.ReplicationController) {
	if t := rc.Spec.Template; t != nil {
		if t.Labels != nil {
			if len(rc.Spec.Selector) == 0 {
				rc.Spec.Selector = t.Labels
			}
			if len(rc.Labels) == 0 {
				rc.Labels = t.Labels
			}
		}
		PodSpec(&t.Spec)
	}
	orNew(&rc.Spec.Replicas, 1)
}

func service(s *corev1.Service) {
	spec := &s.Spec
	orElse(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		c := spec.SessionAffinityConfig
		if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			timeout := int32(corev1.DefaultClientIPServiceAffinitySeconds)
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
				ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout},
			}
		}
	}
	orElse(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		orElse(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	loadBalancer := spec.Type == corev1.ServiceTypeLoadBalancer
	nodePorts := loadBalancer || spec.Type == corev1.ServiceTypeNodePort
	if nodePorts || spec.Type == corev1.ServiceTypeClusterIP {
		orNew(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
		if nodePorts || len(spec.ExternalIPs) > 0 {
			orElse(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		}
	}
	if !loadBalancer {
		return
	}
	orNew(&spec.AllocateLoadBalancerNodePorts, true)
	for i := range s.Status.LoadBalancer.Ingress {
		if ingress := &s.Status.LoadBalancer.Ingress[i]; ingress.IP != "" {
			orNew(&ingress.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

//lint:ignore SA1019 served until Kubernetes drops it
func endpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			orElse(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

func namespace(n *corev1.Namespace) {
	orElse(&n.Status.Phase, corev1.NamespaceActive)
	// A name that is still to be generated is labelled on canonicalisation.
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func node(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	Resources(n.Status.Capacity, n.Status.Allocatable)

	spec := &n.Spec
	if spec.PodCIDR != "" && (len(spec.PodCIDRs) == 0 || spec.PodCIDRs[0] != spec.PodCIDR) {
		spec.PodCIDRs = []string{spec.PodCIDR}
	} else if len(spec.PodCIDRs) > 0 {
		spec.PodCIDR = spec.PodCIDRs[0]
	}
}

func secret(s *corev1.Secret) {
	orElse(&s.Type, corev1.SecretTypeOpaque)
	// stringData is write-only: it is merged into data and never stored.
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func configMap(c *corev1.ConfigMap) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
}

func limitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			fill(&item.Default, item.Max)
			fill(&item.DefaultRequest, item.Default)
			fill(&item.DefaultRequest, item.Min)
		}
		Resources(item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio)
	}
}

// fill adds to *list what from has and it has not; *list is never nil after.
func fill(list *corev1.ResourceList, from corev1.ResourceList) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	for name, quantity := range from {
		if _, ok := (*list)[name]; !ok {
			(*list)[name] = quantity.DeepCopy()
		}
	}
}

func resourceQuota(q *corev1.ResourceQuota) {
	Resources(q.Spec.Hard, q.Status.Hard, q.Status.Used)
}
