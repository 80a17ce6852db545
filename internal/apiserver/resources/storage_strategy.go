package resources

import (
	storagev1 "k8s.io/api/storage/v1"

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

func csiNodeStrategy() Strategy { return checked(Strategy{}, storage.CSINode, storage.CSINodeUpdate) }

func csiStorageCapacityStrategy() Strategy {
	return checked(Strategy{}, storage.CSIStorageCapacity, storage.CSIStorageCapacityUpdate)
}

func csiDriverStrategy() Strategy {
	return checked(Strategy{
		PrepareForUpdate: onUpdate(func(d, old *storagev1.CSIDriver) {
			bumpGeneration(d, old, d.Spec, old.Spec)
		}),
	}, storage.CSIDriver, storage.CSIDriverUpdate)
}

func volumeAttributesClassStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, storage.VolumeAttributesClass, storage.VolumeAttributesClassUpdate)
}
