package devices

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Stock is the engine's question about one node.
func (p *Plan) Stock(n engine.NodeView, name corev1.ResourceName) (total, taken int64) {
	return p.count(n.Object(), name)
}

// Short is a resource of which there are too few devices for a node, if there is one.
func (p *Plan) Short(node *corev1.Node) (name corev1.ResourceName, wanted, taken, total int64) {
	if p.extended == nil || p.extended.left != nil {
		return "", 0, 0, 0
	}
	asked := demand.Requests(p.pod)
	for _, name := range p.extended.asked {
		own, amount := node.Status.Allocatable[name], asked[name]
		if p.extended.classes[name] == "" || !own.IsZero() {
			continue
		}
		if total, taken := p.count(node, name); amount.Value() > total-taken {
			return name, amount.Value(), taken, total
		}
	}
	return "", 0, 0, 0
}

// count counts the devices that a node can use of the class that offers a resource.
func (p *Plan) count(node *corev1.Node, name corev1.ResourceName) (total, taken int64) {
	class := p.world.classFor(name)
	if class == nil {
		return 0, 0
	}
	have := p.world.taken()
	for _, s := range p.world.offer() {
		for i := range s.Spec.Devices {
			d := &s.Spec.Devices[i]
			if !reachable(s, d, node) || !p.world.isOf(class, s.Spec.Driver, d) {
				continue
			}
			total++
			if structured.IsDeviceAllocated(structured.MakeDeviceID(s.Spec.Driver, s.Spec.Pool.Name, d.Name), &have) {
				taken++
			}
		}
	}
	return total, taken
}

// reachable reports whether a node can use a device of a slice.
func reachable(s *resourcev1.ResourceSlice, d *resourcev1.Device, node *corev1.Node) bool {
	name, all, selector := s.Spec.NodeName, s.Spec.AllNodes, s.Spec.NodeSelector
	if is(s.Spec.PerDeviceNodeSelection) {
		name, all, selector = d.NodeName, d.AllNodes, d.NodeSelector
	}
	only := ""
	if name != nil {
		only = *name
	}
	yes, err := structured.NodeMatches(structured.Features{}, node, only, is(all), selector)
	return err == nil && yes
}

func is(b *bool) bool { return b != nil && *b }

// isOf reports whether a device is of a class.
func (w *World) isOf(class *resourcev1.DeviceClass, driver string, d *resourcev1.Device) bool {
	for i := range class.Spec.Selectors {
		by := class.Spec.Selectors[i].CEL
		if by == nil {
			continue
		}
		compiled := w.cache.GetOrCompile(by.Expression)
		if compiled.Error != nil {
			return false
		}
		yes, _, err := compiled.DeviceMatches(context.Background(), cel.Device{
			Driver: driver, AllowMultipleAllocations: d.AllowMultipleAllocations, Attributes: d.Attributes, Capacity: d.Capacity,
		})
		if err != nil || !yes {
			return false
		}
	}
	return true
}
