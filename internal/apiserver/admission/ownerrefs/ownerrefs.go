// Package ownerrefs lets nobody use owner references to reach further than his
// rights: who makes an object go with another must be allowed to delete it, and
// who makes an owner wait for it must be allowed to finalize the owner. It is
// off unless asked for, as upstream has it.
package ownerrefs

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	authorizer authorizer.Authorizer
	mapper     meta.RESTMapper
}

// New returns the plugin. mapper finds the resources of owners.
func New(a authorizer.Authorizer, mapper meta.RESTMapper) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), authorizer: a, mapper: mapper}
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	// What writes a pod's status does not touch who owns it.
	if a.GetSubresource() == "status" && a.GetResource().GroupResource() == corev1.Resource("pods") {
		return nil
	}
	after, before := owners(a.GetObject()), owners(a.GetOldObject())
	if apiequality.Semantic.DeepEqual(after, before) {
		return nil
	}
	// Setting owners at creation gives no rights over what was there before.
	if a.GetOperation() != admission.Create {
		if ok, reason, err := p.may(ctx, authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: "delete", Namespace: a.GetNamespace(), Name: a.GetName(),
			APIGroup: a.GetResource().Group, APIVersion: a.GetResource().Version,
			Resource: a.GetResource().Resource, Subresource: a.GetSubresource(), ResourceRequest: true,
		}); !ok {
			return admission.NewForbidden(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err))
		}
	}
	for _, ref := range newlyBlocking(after, before) {
		if err := p.finalizes(ctx, a, ref); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return nil
}

// finalizes says whether the user may set finalizers on an owner.
func (p *Plugin) finalizes(ctx context.Context, a admission.Attributes, ref metav1.OwnerReference) error {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return err
	}
	mappings, err := p.mapper.RESTMappings(schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, gv.Version)
	if err != nil {
		return fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %v Kind %v: %w", ref.APIVersion, ref.Kind, err)
	}
	for _, m := range mappings {
		attrs := authorizer.AttributesRecord{
			User: a.GetUserInfo(), Verb: "update", Name: ref.Name,
			APIGroup: m.Resource.Group, APIVersion: m.Resource.Version,
			Resource: m.Resource.Resource, Subresource: "finalizers", ResourceRequest: true,
		}
		if m.Scope.Name() == meta.RESTScopeNameNamespace {
			attrs.Namespace = a.GetNamespace()
		}
		if ok, reason, err := p.may(ctx, attrs); !ok {
			return fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err)
		}
	}
	return nil
}

func (p *Plugin) may(ctx context.Context, attrs authorizer.Attributes) (bool, string, error) {
	decision, reason, err := p.authorizer.Authorize(ctx, attrs)
	return decision == authorizer.DecisionAllow, reason, err
}

func owners(obj runtime.Object) []metav1.OwnerReference {
	if obj == nil {
		return nil
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil // it has no metadata, and no owners
	}
	return m.GetOwnerReferences()
}

// newlyBlocking returns the references that make an owner wait and did not do
// so before.
func newlyBlocking(after, before []metav1.OwnerReference) []metav1.OwnerReference {
	blocks := func(r metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
	blocked := map[string]bool{}
	for _, r := range before {
		blocked[string(r.UID)] = blocks(r)
	}
	var out []metav1.OwnerReference
	for _, r := range after {
		if blocks(r) && !blocked[string(r.UID)] {
			out = append(out, r)
		}
	}
	return out
}
