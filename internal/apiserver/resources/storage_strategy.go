package resources

import storagev1 "k8s.io/api/storage/v1"

func storageClassStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}

func volumeAttachmentStrategy() Strategy {
	s := mainStrategy(func(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &a.Status })
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func volumeAttachmentStatusStrategy() *Strategy {
	return &Strategy{
		PrepareForUpdate: onUpdate(func(a, old *storagev1.VolumeAttachment) {
			a.Spec = old.Spec
			keepMeta(&a.ObjectMeta, &old.ObjectMeta)
		}),
		ResetFields: [][]string{{"metadata"}, {"spec"}},
	}
}

func csiNodeStrategy() Strategy            { return Strategy{} }
func csiStorageCapacityStrategy() Strategy { return Strategy{} }

func csiDriverStrategy() Strategy {
	return Strategy{
		PrepareForUpdate: onUpdate(func(d, old *storagev1.CSIDriver) {
			bumpGeneration(d, old, d.Spec, old.Spec)
		}),
	}
}

func volumeAttributesClassStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}
