// Package nodefeatures refuses changes of bound pods that need what their node
// does not say it can do: the node would never carry them out.
package nodefeatures

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/component-helpers/nodedeclaredfeatures"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source   lookup.Source
	features *nodedeclaredfeatures.Framework
	level    *version.Version
}

// New returns the plugin.
func New(source lookup.Source) *Plugin {
	return &Plugin{
		Handler: admission.NewHandler(admission.Update), source: source,
		features: nodedeclaredfeatures.DefaultFramework,
		level:    compatibility.DefaultBuildEffectiveVersion().BinaryVersion(),
	}
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != lookup.Core("pods") || a.GetSubresource() != "" && a.GetSubresource() != "resize" {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	old, had := a.GetOldObject().(*corev1.Pod)
	if !ok || !had || pod.Spec.NodeName == "" || pod.Generation == old.Generation {
		return nil // its node has nothing to carry out
	}
	needs, err := p.features.InferForPodUpdate(
		&nodedeclaredfeatures.PodInfo{Spec: &old.Spec, Status: &old.Status},
		&nodedeclaredfeatures.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, p.level)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to infer pod capability requirements: %w", err))
	}
	if needs.IsEmpty() {
		return nil
	}
	node, err := lookup.Get[*corev1.Node](ctx, p.source, lookup.Core("nodes"), "", pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	result, err := p.features.MatchNode(needs, node)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
	}
	if !result.IsMatch {
		return admission.NewForbidden(a, fmt.Errorf("pod update requires features %s which are not available on node %q",
			strings.Join(result.UnsatisfiedRequirements, ", "), node.Name))
	}
	return nil
}
