// Package topology labels pods with the zone and the region of the node that
// they are bound to, so that a container can learn them by the downward API.
package topology

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source lookup.Source
}

// New returns the plugin.
func New(source lookup.Source) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), source: source}
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	var node string
	var labels *map[string]string
	switch obj := a.GetObject().(type) {
	case *corev1.Binding:
		if obj.Target.Kind != "" && obj.Target.Kind != "Node" {
			return nil
		}
		node, labels = obj.Target.Name, &obj.Labels
	case *corev1.Pod: // made for a node at once
		if a.GetSubresource() != "" || a.GetResource().GroupResource() != lookup.Core("pods") {
			return nil
		}
		node, labels = obj.Spec.NodeName, &obj.Labels
	}
	if node == "" {
		return nil
	}
	on, err := lookup.Get[*corev1.Node](ctx, p.source, lookup.Core("nodes"), "", node)
	if apierrors.IsNotFound(err) {
		return nil // a pod may be bound before its node registers
	}
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		value, ok := on.Labels[key]
		if !ok {
			continue
		}
		if *labels == nil {
			*labels = map[string]string{}
		}
		(*labels)[key] = value
	}
	return nil
}
