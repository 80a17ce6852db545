package noderestriction

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// audience lets a node have a token only for whom the pod means it: a node that
// is taken over must not speak for its pods to everybody. Roles may allow more.
func (p *Plugin) audience(ctx context.Context, a admission.Attributes, pod *corev1.Pod, wanted []string) error {
	var one string
	switch len(wanted) {
	case 0:
	case 1:
		one = wanted[0]
	default:
		return fmt.Errorf("node may only request 0 or 1 audiences")
	}
	meant, err := p.meant(ctx, pod, one)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", one, err)
	}
	if meant {
		return nil
	}
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.GetUserInfo(), Verb: "request-serviceaccounts-token-audience", Namespace: a.GetNamespace(),
		APIVersion: "v1", Resource: one, Name: a.GetName(), ResourceRequest: true,
	})
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", one, err)
	}
	if decision != authorizer.DecisionAllow {
		return fmt.Errorf("audience %q not found in pod spec volume, and the node has no permission to request it", one)
	}
	return nil
}

// meant says whether a volume of the pod asks for a token for the audience.
func (p *Plugin) meant(ctx context.Context, pod *corev1.Pod, audience string) (bool, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		driver, err := "", error(nil)
		switch {
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
					return true, nil
				}
			}
		case v.CSI != nil:
			driver = v.CSI.Driver
		case v.Ephemeral != nil:
			driver, err = p.driverOf(ctx, pod.Namespace, pod.Name+"-"+v.Name)
		case v.PersistentVolumeClaim != nil:
			driver, err = p.driverOf(ctx, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
		}
		if err != nil {
			return false, err
		}
		if ok, err := p.driverWants(ctx, driver, audience); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// driverOf is the driver of the volume that a claim is bound to; "" when there
// is none yet.
func (p *Plugin) driverOf(ctx context.Context, namespace, claim string) (string, error) {
	pvc, err := lookup.Get[*corev1.PersistentVolumeClaim](ctx, p.source, lookup.Core("persistentvolumeclaims"), namespace, claim)
	if apierrors.IsNotFound(err) || err == nil && pvc.Spec.VolumeName == "" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	pv, err := lookup.Get[*corev1.PersistentVolume](ctx, p.source, lookup.Core("persistentvolumes"), "", pvc.Spec.VolumeName)
	if apierrors.IsNotFound(err) || err == nil && pv.Spec.CSI == nil {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return pv.Spec.CSI.Driver, nil
}

func (p *Plugin) driverWants(ctx context.Context, name, audience string) (bool, error) {
	if name == "" {
		return false, nil
	}
	driver, err := lookup.Get[*storagev1.CSIDriver](ctx, p.source, schema.GroupResource{Group: storagev1.GroupName, Resource: "csidrivers"}, "", name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, r := range driver.Spec.TokenRequests {
		if r.Audience == audience {
			return true, nil
		}
	}
	return false, nil
}
