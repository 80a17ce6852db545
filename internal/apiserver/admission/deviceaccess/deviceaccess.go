// Package deviceaccess guards the use of devices by claims: only namespaces that
// are marked for it have administrative access, which reaches into what others
// use, and each part of a claim's status is written by those who have the right
// to that part.
package deviceaccess

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	source     lookup.Source
	authorizer authorizer.UnconditionalAuthorizer
}

// New returns the plugin.
func New(source lookup.Source, authorizer authorizer.UnconditionalAuthorizer) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), source: source, authorizer: authorizer}
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	faults := append(p.checkAdmin(ctx, a), p.checkStatus(ctx, a)...)
	if len(faults) == 0 {
		return nil
	}
	// Upstream finds these among the faults of the object.
	return apierrors.NewInvalid(a.GetKind().GroupKind(), a.GetName(), faults)
}

func (p *Plugin) checkAdmin(ctx context.Context, a admission.Attributes) field.ErrorList {
	path := asks(a)
	if path == nil {
		return nil
	}
	namespace, err := lookup.Get[*corev1.Namespace](ctx, p.source, lookup.Core("namespaces"), "", a.GetNamespace())
	switch {
	case err != nil:
		return field.ErrorList{field.InternalError(path, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	case namespace.Labels[resourcev1.DRAAdminNamespaceLabelKey] == "true":
		return nil
	default:
		return field.ErrorList{field.Forbidden(path, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
	}
}

// asks tells where a write asks for the access; nil is nowhere. Specs do not
// change, so those that are stored have been asked.
func asks(a admission.Attributes) *field.Path {
	switch obj := a.GetObject().(type) {
	case *resourcev1.ResourceClaim:
		if a.GetSubresource() == "status" {
			if old, ok := a.GetOldObject().(*resourcev1.ResourceClaim); ok && granted(&old.Status) != nil {
				return nil
			}
			return granted(&obj.Status)
		}
		if a.GetSubresource() == "" && a.GetOperation() == admission.Create {
			return requested(&obj.Spec)
		}
	case *resourcev1.ResourceClaimTemplate:
		if a.GetOperation() == admission.Create {
			return requested(&obj.Spec.Spec)
		}
	}
	return nil
}

// requested is the path that upstream gives, of templates too.
func requested(s *resourcev1.ResourceClaimSpec) *field.Path {
	for i := range s.Devices.Requests {
		if e := s.Devices.Requests[i].Exactly; e != nil && e.AdminAccess != nil && *e.AdminAccess {
			return field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess")
		}
	}
	return nil
}

func granted(s *resourcev1.ResourceClaimStatus) *field.Path {
	if s.Allocation == nil {
		return nil
	}
	for i := range s.Allocation.Devices.Results {
		if admin := s.Allocation.Devices.Results[i].AdminAccess; admin != nil && *admin {
			return field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess")
		}
	}
	return nil
}
