package gated

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// A feature shows its fields in a pod spec to visit: whether each is set, and
// how to clear it.
type feature func(s *corev1.PodSpec, visit visitor)

type visitor func(set bool, clear func())

func specFeatures() []feature {
	return []feature{evictionResponders, stopSignals, httpProtocols, grpcModes, volumeOwners, emptyDirModes, bindMountOptions}
}

// Pod drops from p what is not switched on; old is the stored pod, or nil.
func Pod(p, old *corev1.Pod) {
	var spec *corev1.PodSpec
	var status *corev1.PodStatus
	if old != nil {
		spec, status = &old.Spec, &old.Status
	}
	dropSpec(&p.Spec, spec)
	dropStatus(&p.Status, status)
	dropInitAnnotations(p.Annotations)
}

// Template drops from t what is not switched on; old is the stored template,
// or nil.
func Template(t, old *corev1.PodTemplateSpec) {
	var spec *corev1.PodSpec
	if old != nil {
		spec = &old.Spec
	}
	dropSpec(&t.Spec, spec)
	dropInitAnnotations(t.Annotations)
}

// Job drops from s what is not switched on; old is the stored spec, or nil.
func Job(s, old *batchv1.JobSpec) {
	if old == nil || old.Scheduling == nil {
		s.Scheduling = nil
	}
}

func dropSpec(s, old *corev1.PodSpec) {
	for _, f := range specFeatures() {
		used := false
		if old != nil {
			f(old, func(set bool, _ func()) { used = used || set })
		}
		if used {
			continue
		}
		f(s, func(set bool, clear func()) {
			if set {
				clear()
			}
		})
	}
}

// dropInitAnnotations removes the annotations that init containers were
// written in before they had a field.
func dropInitAnnotations(annotations map[string]string) {
	for _, key := range []string{
		"pod.beta.kubernetes.io/init-containers", "pod.alpha.kubernetes.io/init-containers",
		"pod.beta.kubernetes.io/init-container-statuses", "pod.alpha.kubernetes.io/init-container-statuses",
	} {
		delete(annotations, key)
	}
}

// field visits one optional field.
func field[T any](visit visitor, p **T) { visit(*p != nil, func() { *p = nil }) }

func eachContainer(s *corev1.PodSpec, visit func(*corev1.Container)) {
	for i := range s.InitContainers {
		visit(&s.InitContainers[i])
	}
	for i := range s.Containers {
		visit(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		visit((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

func eachProbe(s *corev1.PodSpec, visit func(*corev1.Probe)) {
	eachContainer(s, func(c *corev1.Container) {
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p != nil {
				visit(p)
			}
		}
	})
}

func evictionResponders(s *corev1.PodSpec, visit visitor) {
	visit(len(s.EvictionResponders) > 0, func() { s.EvictionResponders = nil })
}

func stopSignals(s *corev1.PodSpec, visit visitor) {
	eachContainer(s, func(c *corev1.Container) {
		if c.Lifecycle == nil {
			return
		}
		visit(c.Lifecycle.StopSignal != nil, func() {
			c.Lifecycle.StopSignal = nil
			if *c.Lifecycle == (corev1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		})
	})
}

func httpProtocols(s *corev1.PodSpec, visit visitor) {
	eachProbe(s, func(p *corev1.Probe) {
		if p.HTTPGet != nil {
			field(visit, &p.HTTPGet.Protocol)
		}
	})
	eachContainer(s, func(c *corev1.Container) {
		if c.Lifecycle == nil {
			return
		}
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil && h.HTTPGet != nil {
				field(visit, &h.HTTPGet.Protocol)
			}
		}
	})
}

func grpcModes(s *corev1.PodSpec, visit visitor) {
	eachProbe(s, func(p *corev1.Probe) {
		if p.GRPC != nil {
			field(visit, &p.GRPC.Mode)
		}
	})
}

func emptyDirModes(s *corev1.PodSpec, visit visitor) {
	for i := range s.Volumes {
		if d := s.Volumes[i].EmptyDir; d != nil {
			field(visit, &d.Mode)
		}
	}
}

func bindMountOptions(s *corev1.PodSpec, visit visitor) {
	eachContainer(s, func(c *corev1.Container) {
		for i := range c.VolumeMounts {
			m := &c.VolumeMounts[i]
			visit(len(m.BindMountOptions) > 0, func() { m.BindMountOptions = nil })
		}
	})
}

// volumeOwners are the users that files written into volumes belong to. Of a
// volume that names several sources, only the first is looked into: it is
// refused anyway.
func volumeOwners(s *corev1.PodSpec, visit visitor) {
	for i := range s.Volumes {
		switch v := &s.Volumes[i]; {
		case v.Secret != nil:
			field(visit, &v.Secret.DefaultUser)
			keyOwners(v.Secret.Items, visit)
		case v.ConfigMap != nil:
			field(visit, &v.ConfigMap.DefaultUser)
			keyOwners(v.ConfigMap.Items, visit)
		case v.DownwardAPI != nil:
			field(visit, &v.DownwardAPI.DefaultUser)
			fileOwners(v.DownwardAPI.Items, visit)
		case v.Projected != nil:
			field(visit, &v.Projected.DefaultUser)
			for j := range v.Projected.Sources {
				sourceOwners(&v.Projected.Sources[j], visit)
			}
		}
	}
}

func sourceOwners(s *corev1.VolumeProjection, visit visitor) {
	switch {
	case s.Secret != nil:
		keyOwners(s.Secret.Items, visit)
	case s.DownwardAPI != nil:
		fileOwners(s.DownwardAPI.Items, visit)
	case s.ConfigMap != nil:
		keyOwners(s.ConfigMap.Items, visit)
	case s.ServiceAccountToken != nil:
		field(visit, &s.ServiceAccountToken.User)
	case s.ClusterTrustBundle != nil:
		field(visit, &s.ClusterTrustBundle.User)
	case s.PodCertificate != nil:
		field(visit, &s.PodCertificate.User)
	}
}

func keyOwners(items []corev1.KeyToPath, visit visitor) {
	for i := range items {
		field(visit, &items[i].User)
	}
}

func fileOwners(items []corev1.DownwardAPIVolumeFile, visit visitor) {
	for i := range items {
		field(visit, &items[i].User)
	}
}

func dropStatus(s, old *corev1.PodStatus) {
	if old == nil {
		old = &corev1.PodStatus{}
	}
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 {
		s.NodeAllocatableResourceClaimStatuses = nil
	}
	if len(old.VolumeHealth) == 0 {
		s.VolumeHealth = nil
	}
	digests := false
	eachMountStatus(old, func(m *corev1.VolumeMountStatus) { digests = digests || m.VolumeStatus != nil })
	if !digests {
		eachMountStatus(s, func(m *corev1.VolumeMountStatus) { m.VolumeStatus = nil })
	}
}

func eachMountStatus(s *corev1.PodStatus, visit func(*corev1.VolumeMountStatus)) {
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				visit(&list[i].VolumeMounts[j])
			}
		}
	}
}
