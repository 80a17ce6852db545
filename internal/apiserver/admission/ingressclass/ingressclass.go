// Package ingressclass gives new ingresses that name no class the default one.
package ingressclass

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// legacyAnnotation was the way to name a class before there was a field.
const legacyAnnotation = "kubernetes.io/ingress.class"

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
	ingress, ok := a.GetObject().(*networkingv1.Ingress)
	if !ok || a.GetSubresource() != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, legacy := ingress.Annotations[legacyAnnotation]; legacy {
		return nil
	}
	resource := schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}
	list, err := lookup.ListFew[*networkingv1.IngressClass](ctx, p.source, resource, "")
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if class := defaultClass(list); class != nil {
		name := class.Name
		ingress.Spec.IngressClassName = &name
	}
	return nil
}

// defaultClass is the youngest of those marked.
func defaultClass(list []*networkingv1.IngressClass) *networkingv1.IngressClass {
	var found *networkingv1.IngressClass
	for _, c := range list {
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) ||
			found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	}
	return found
}
