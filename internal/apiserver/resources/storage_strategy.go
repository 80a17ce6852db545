package resources

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sinawi/sinawi/internal/apiserver/validation/storage"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func storageClassStrategy() Strategy {
	return warned(checked(Strategy{AllowUnconditionalUpdate: true}, storage.StorageClass, storage.StorageClassUpdate), warnings.StorageClass)
}

func volumeAttachmentStrategy() Strategy {
	s := checked(mainStrategy(func(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &a.Status }),
		storage.VolumeAttachment, storage.VolumeAttachmentUpdate)
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func volumeAttachmentStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(a, old *storagev1.VolumeAttachment) {
			a.Spec = old.Spec
			keepMeta(&a.ObjectMeta, &old.ObjectMeta)
		}),
		ResetFields: [][]string{{"metadata"}, {"spec"}},
	}, storage.VolumeAttachmentUpdate)
}

func csiNodeStrategy() Strategy {
	s := checked(mainStrategy(func(n *storagev1.CSINode) *storagev1.CSINodeStatus { return &n.Status }),
		storage.CSINode, storage.CSINodeUpdate)
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

// csiNodeStatusStrategy is that of what drivers report. The reports themselves
// are behind CSIVolumeHealth, an alpha, so that what is stored alone stays.
func csiNodeStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(n, old *storagev1.CSINode) {
			n.Spec = old.Spec
			if len(old.Status.StorageHealth) == 0 {
				n.Status.StorageHealth = nil
			}
			keepMeta(&n.ObjectMeta, &old.ObjectMeta)
		}),
		ResetFields: [][]string{{"metadata"}, {"spec"}},
	}, storage.CSINodeStatusUpdate)
}

func csiStorageCapacityStrategy() Strategy {
	return warned(checked(Strategy{}, storage.CSIStorageCapacity, storage.CSIStorageCapacityUpdate), warnings.CSIStorageCapacity)
}

func csiDriverStrategy() Strategy {
	s := checked(Strategy{
		PrepareForUpdate: onUpdate(func(d, old *storagev1.CSIDriver) {
			bumpGeneration(d, old, d.Spec, old.Spec)
		}),
	}, storage.CSIDriver, storage.CSIDriverUpdate)
	s.Warnings = onWarn(warnings.CSIDriver)
	s.UpdateWarnings = func(_ context.Context, obj, old runtime.Object) []string {
		d, before := obj.(*storagev1.CSIDriver), old.(*storagev1.CSIDriver)
		if apiequality.Semantic.DeepEqual(d.Spec.TokenRequests, before.Spec.TokenRequests) {
			return nil
		}
		return warnings.CSIDriver(d)
	}
	return s
}

func volumeAttributesClassStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, storage.VolumeAttributesClass, storage.VolumeAttributesClassUpdate)
}
