package storage

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// refusalByLimits says that a node cannot attach what the pod wants: because it does
// not have the driver, or has as many volumes of it as it can. What is attached there
// already takes no more room; kube-scheduler counts such a volume twice as long as no
// pod there uses it, so that a pod that comes back to a full node finds no place.
func (p *Plan) refusalByLimits(n engine.NodeView) []string {
	node := p.world.nodes[n.Object().Name]
	for name := range p.attached {
		if p.world.mustHave(name) && driverOf(node, name) == nil {
			return []string{fmt.Sprintf("%s CSI driver is not installed on the node", name)}
		}
	}
	for name, wanted := range p.attached {
		d := driverOf(node, name)
		if d == nil || d.Allocatable == nil || d.Allocatable.Count == nil {
			continue
		}
		there := p.world.attachedTo(n, name)
		before := len(there)
		for _, handle := range wanted {
			there[handle] = true
		}
		if len(there) > before && len(there) > int(*d.Allocatable.Count) {
			return []string{reasonLimit}
		}
	}
	return nil
}

func driverOf(node *storagev1.CSINode, name string) *storagev1.CSINodeDriver {
	if node == nil {
		return nil
	}
	for i := range node.Spec.Drivers {
		if node.Spec.Drivers[i].Name == name {
			return &node.Spec.Drivers[i]
		}
	}
	return nil
}

// mustHave reports whether pods with volumes of a driver go only where it runs.
func (w *World) mustHave(name string) bool {
	d := w.drivers[name]
	return d != nil && d.Spec.PreventPodSchedulingIfMissing != nil && *d.Spec.PreventPodSchedulingIfMissing
}

// attachedTo has the volumes of a driver that pods on a node use, and those that are
// attached to it, or to be, though no pod uses them any more, or yet.
func (w *World) attachedTo(n engine.NodeView, driver string) map[string]bool {
	out := map[string]bool{}
	for pod := range n.Pods {
		for _, key := range w.claimsOf(pod) {
			if claim := w.claims[key]; claim != nil {
				if d, handle := w.attachment(claim); d == driver {
					out[handle] = true
				}
			}
		}
	}
	for _, a := range w.attachments[n.Object().Name] {
		if a.Spec.Attacher != driver || a.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		if v := w.volumes[*a.Spec.Source.PersistentVolumeName]; v != nil && v.Spec.CSI != nil && v.Spec.CSI.Driver == driver {
			out[v.Spec.CSI.VolumeHandle] = true
		}
	}
	return out
}
