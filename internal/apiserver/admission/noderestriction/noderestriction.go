// Package noderestriction keeps a node to what is its own. The authorizer has
// let a node write nodes, pods, leases and tokens because it cannot see what is
// written; this plugin can.
package noderestriction

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
	"github.com/sinawi/sinawi/internal/apiserver/authz/node"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source     lookup.Source
	authorizer authorizer.UnconditionalAuthorizer
}

// New returns the plugin. The authorizer is asked whether a node may have tokens
// for others than its pods mean them for.
func New(source lookup.Source, a authorizer.UnconditionalAuthorizer) *Plugin {
	return &Plugin{
		Handler:    admission.NewHandler(admission.Create, admission.Update, admission.Delete),
		source:     source,
		authorizer: a,
	}
}

// Admit implements admission.MutationInterface; it changes nothing.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	name, isNode := node.Identity(a.GetUserInfo())
	if !isNode {
		return nil
	}
	if name == "" {
		return admission.NewForbidden(a, fmt.Errorf("could not determine node from user %q", a.GetUserInfo().GetName()))
	}
	if err := p.restrict(ctx, name, a); err != nil {
		if apierrors.IsNotFound(err) {
			return err
		}
		if late := (tryAgain{}); errors.As(err, &late) {
			return late.error
		}
		return admission.NewForbidden(a, err)
	}
	return nil
}

func (p *Plugin) restrict(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetResource().GroupResource() {
	case lookup.Core("pods"):
		return p.pod(ctx, node, a)
	case lookup.Core("nodes"):
		return ownNode(node, a)
	case lookup.Core("persistentvolumeclaims"):
		if a.GetSubresource() != "status" {
			return fmt.Errorf("may only update PVC status")
		}
		return claimStatus(node, a)
	case lookup.Core("serviceaccounts"):
		return p.token(ctx, node, a)
	case schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}:
		return lease(node, a)
	case schema.GroupResource{Group: storagev1.GroupName, Resource: "csinodes"}:
		if requestName(a) != node {
			return fmt.Errorf("can only access CSINode with the same name as the requesting node")
		}
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceslices"}:
		return slice(node, a)
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests"}:
		return ownCertificate(node, a)
	case schema.GroupResource{Group: certificatesv1.GroupName, Resource: "podcertificaterequests"}:
		return p.podCertificate(ctx, node, a)
	}
	return nil
}

func unexpected(obj any) error { return fmt.Errorf("unexpected type %T", obj) }

// requestName is the name of the object that a request is about, also of one
// that is being made.
func requestName(a admission.Attributes) string {
	if a.GetOperation() == admission.Create {
		if m, err := meta.Accessor(a.GetObject()); err == nil {
			return m.GetName()
		}
	}
	return a.GetName()
}

func (p *Plugin) pod(ctx context.Context, node string, a admission.Attributes) error {
	switch a.GetSubresource() {
	case "":
		switch a.GetOperation() {
		case admission.Create:
			return p.mirror(ctx, node, a)
		case admission.Delete:
			return p.bound(ctx, node, a.GetNamespace(), a.GetName(), "node %q can only delete pods with spec.nodeName set to itself")
		}
		return fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.GetOperation(), node)
	case "status":
		return podStatus(node, a)
	case "eviction":
		eviction, ok := a.GetObject().(*policyv1.Eviction)
		if !ok || a.GetOperation() != admission.Create {
			return unexpected(a.GetObject())
		}
		name := a.GetName()
		if name == "" {
			name = eviction.Name
		}
		if name == "" {
			return fmt.Errorf("could not determine pod from request data")
		}
		return p.bound(ctx, node, a.GetNamespace(), name, "node %s can only evict pods with spec.nodeName set to itself")
	}
	return fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.GetSubresource())
}

// bound proves that an existing pod is bound to node.
func (p *Plugin) bound(ctx context.Context, node, namespace, name, refusal string) error {
	pod, err := lookup.Get[*corev1.Pod](ctx, p.source, lookup.Core("pods"), namespace, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf(refusal, node)
	}
	return nil
}

// token lets a node have tokens only for the pods that run on it, bound to them.
func (p *Plugin) token(ctx context.Context, node string, a admission.Attributes) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "token" {
		return nil
	}
	request, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return unexpected(a.GetObject())
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return fmt.Errorf("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return fmt.Errorf("node requested token with a pod binding without a uid")
	}
	pod, err := lookup.Get[*corev1.Pod](ctx, p.source, lookup.Core("pods"), a.GetNamespace(), ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != pod.UID {
		return fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != node {
		return fmt.Errorf("node requested token bound to a pod scheduled on a different node")
	}
	return p.audience(ctx, a, pod, request.Spec.Audiences)
}

func lease(node string, a admission.Attributes) error {
	if a.GetNamespace() != corev1.NamespaceNodeLease {
		return fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if requestName(a) != node {
		return fmt.Errorf("can only access node lease with the same name as the requesting node")
	}
	return nil
}

func slice(node string, a admission.Attributes) error {
	obj := a.GetObject()
	if a.GetOperation() == admission.Delete {
		obj = a.GetOldObject()
	}
	s, ok := obj.(*resourcev1.ResourceSlice)
	if obj == nil {
		return nil // the authorizer knows whose an existing slice is
	}
	if !ok {
		return unexpected(obj)
	}
	if s.Spec.NodeName == nil || *s.Spec.NodeName != node {
		return fmt.Errorf("can only create or delete ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}
