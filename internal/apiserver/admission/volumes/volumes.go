// Package volumes has the admission rules of storage: a claim that names no
// class gets the default one, claims and volumes in use are kept from vanishing
// by a finalizer, and a claim grows only where its class allows it.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

func classes() schema.GroupResource {
	return schema.GroupResource{Group: storagev1.GroupName, Resource: "storageclasses"}
}

// DefaultClass fills in the class of new claims.
type DefaultClass struct {
	*admission.Handler
	source lookup.Source
}

// NewDefaultClass returns the plugin.
func NewDefaultClass(source lookup.Source) *DefaultClass {
	return &DefaultClass{Handler: admission.NewHandler(admission.Create), source: source}
}

// Admit implements admission.MutationInterface.
func (p *DefaultClass) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != lookup.Core("persistentvolumeclaims") || a.GetSubresource() != "" {
		return nil
	}
	pvc, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok || asksForClass(pvc) {
		return nil
	}
	list, err := lookup.ListFew[*storagev1.StorageClass](ctx, p.source, classes(), "")
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	if class := defaultClass(list); class != nil {
		name := class.Name
		pvc.Spec.StorageClassName = &name
	}
	return nil
}

func asksForClass(pvc *corev1.PersistentVolumeClaim) bool {
	_, beta := pvc.Annotations[corev1.BetaStorageClassAnnotation]
	return beta || pvc.Spec.StorageClassName != nil
}

// defaultClass is the youngest of those marked, so that a new default takes
// over from the old one without a moment in which there is none.
func defaultClass(list []*storagev1.StorageClass) *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for _, c := range list {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" &&
			c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		switch {
		case found == nil, found.CreationTimestamp.Before(&c.CreationTimestamp):
			found = c
		case found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name:
			found = c
		}
	}
	return found
}

// Protection keeps claims, volumes and attribute classes until nobody uses them.
type Protection struct{ *admission.Handler }

// NewProtection returns the plugin.
func NewProtection() *Protection {
	return &Protection{Handler: admission.NewHandler(admission.Create)}
}

// Admit implements admission.MutationInterface.
func (*Protection) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	add := func(finalizers *[]string, name string) {
		if !slices.Contains(*finalizers, name) {
			*finalizers = append(*finalizers, name)
		}
	}
	switch obj := a.GetObject().(type) {
	case *corev1.PersistentVolume:
		add(&obj.Finalizers, "kubernetes.io/pv-protection")
	case *corev1.PersistentVolumeClaim:
		add(&obj.Finalizers, "kubernetes.io/pvc-protection")
	case *storagev1.VolumeAttributesClass:
		add(&obj.Finalizers, "kubernetes.io/vac-protection")
	}
	return nil
}

// Resize refuses growth that no class allows.
type Resize struct {
	*admission.Handler
	source lookup.Source
}

// NewResize returns the plugin.
func NewResize(source lookup.Source) *Resize {
	return &Resize{Handler: admission.NewHandler(admission.Update), source: source}
}

// Validate implements admission.ValidationInterface.
func (p *Resize) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pvc, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	old, okOld := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !okOld || a.GetSubresource() != "" {
		return nil
	}
	before, after := old.Spec.Resources.Requests[corev1.ResourceStorage], pvc.Spec.Resources.Requests[corev1.ResourceStorage]
	if after.Cmp(before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(a, errors.New("only bound persistent volume claims can be expanded"))
	}
	name := ""
	if pvc.Spec.StorageClassName != nil {
		name = *pvc.Spec.StorageClassName
	}
	if beta, ok := pvc.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		name = beta
	}
	class, err := lookup.Get[*storagev1.StorageClass](ctx, p.source, classes(), "", name)
	if name == "" || err != nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return admission.NewForbidden(a, fmt.Errorf("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}
