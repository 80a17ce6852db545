package devices

import resourcev1 "k8s.io/api/resource/v1"

// offer returns the devices with all their taints: those of their drivers, and
// those that administrators add by rules.
func (w *World) offer() []*resourcev1.ResourceSlice {
	if w.offered != nil {
		return w.offered
	}
	w.offered = make([]*resourcev1.ResourceSlice, 0, len(w.slices))
	for _, s := range w.slices {
		for _, r := range w.rules {
			s = withTaint(s, w.slices[s.Name], r)
		}
		w.offered = append(w.offered, s)
	}
	return w.offered
}

// withTaint returns a slice with what a rule adds; original is not changed. A rule
// without a selector is about no device, one with an empty selector about all.
func withTaint(s, original *resourcev1.ResourceSlice, r *resourcev1.DeviceTaintRule) *resourcev1.ResourceSlice {
	is := func(want *string, have string) bool { return want == nil || *want == have }
	by := r.Spec.DeviceSelector
	if by == nil || !is(by.Driver, s.Spec.Driver) || !is(by.Pool, s.Spec.Pool.Name) {
		return s
	}
	for i := range s.Spec.Devices {
		if !is(by.Device, s.Spec.Devices[i].Name) {
			continue
		}
		if s == original {
			s = original.DeepCopy()
		}
		s.Spec.Devices[i].Taints = append(s.Spec.Devices[i].Taints, r.Spec.Taint)
	}
	return s
}
