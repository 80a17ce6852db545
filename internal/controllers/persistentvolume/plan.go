package persistentvolume

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"
)

// event is what a user shall hear about an object.
type event struct{ kind, reason, message string }

func normal(reason, message string) *event { return &event{corev1.EventTypeNormal, reason, message} }
func warning(reason, message string) *event {
	return &event{corev1.EventTypeWarning, reason, message}
}

// world is what a decision about a claim or volume is made of.
type world struct {
	// class returns a storage class by name, or nil.
	class func(name string) *storagev1.StorageClass
	// volume returns a volume by name, or nil.
	volume func(name string) *corev1.PersistentVolume
	// candidates are the volumes of a class that no claim has, and those that ask for
	// the claim.
	candidates func(class string, claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume
	// defaultClass is the class of claims that name none; nil without one.
	defaultClass func() *storagev1.StorageClass
	// user returns the names of pods that wait for the claim, with commas, or "".
	user func(claim *corev1.PersistentVolumeClaim) string
}

// claimPlan is what to do with a claim. At most one of bind, phase, annotate and
// class is set.
type claimPlan struct {
	bind  *corev1.PersistentVolume          // tie to this volume
	phase corev1.PersistentVolumeClaimPhase // set this phase
	// provisioner is written to the claim's annotations: it is asked for a volume.
	provisioner string
	class       string // the default class, to be written to the claim
	event       *event
}

func planClaim(claim *corev1.PersistentVolumeClaim, w world) (claimPlan, error) {
	if claim.DeletionTimestamp != nil && claim.Spec.VolumeName == "" {
		return claimPlan{}, nil
	}
	if _, done := claim.Annotations[volume.AnnBindCompleted]; done {
		return planBound(claim, w), nil
	}
	if claim.Spec.VolumeName != "" {
		return planNamed(claim, w), nil
	}
	return planFree(claim, w)
}

// planBound watches over a claim that once was bound.
func planBound(claim *corev1.PersistentVolumeClaim, w world) claimPlan {
	lost := func(reason, message string) claimPlan {
		if claim.Status.Phase == corev1.ClaimLost {
			return claimPlan{}
		}
		return claimPlan{phase: corev1.ClaimLost, event: warning(reason, message)}
	}
	if claim.Spec.VolumeName == "" {
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	v := w.volume(claim.Spec.VolumeName)
	switch {
	case v == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil, v.Spec.ClaimRef.UID == claim.UID:
		return claimPlan{bind: v}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// planNamed is for a claim whose user chose the volume, or whose binding a crash cut short.
func planNamed(claim *corev1.PersistentVolumeClaim, w world) claimPlan {
	v := w.volume(claim.Spec.VolumeName)
	switch {
	case v == nil:
		return claimPlan{phase: corev1.ClaimPending}
	case v.Spec.ClaimRef == nil:
		if problem := unfit(v, claim); problem != "" {
			return claimPlan{
				phase: corev1.ClaimPending,
				event: warning("VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, problem)),
			}
		}
		return claimPlan{bind: v}
	case volume.IsVolumeBoundToClaim(v, claim):
		return claimPlan{bind: v}
	}
	return claimPlan{
		phase: corev1.ClaimPending,
		event: warning("FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", v.Name)),
	}
}

// unfit says why a volume cannot satisfy a claim, or "".
func unfit(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], v.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case have.Cmp(want) < 0:
		return "requested PV is too small"
	case volume.GetPersistentVolumeClass(v) != volume.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec):
		return "incompatible volumeMode"
	case !volume.CheckAccessModes(claim, v):
		return "incompatible accessMode"
	}
	return ""
}

// planFree finds a volume for a claim, or says who shall make one.
func planFree(claim *corev1.PersistentVolumeClaim, w world) (claimPlan, error) {
	if claim.Spec.StorageClassName == nil && !volume.PersistentVolumeClaimHasClass(claim) {
		if class := w.defaultClass(); class != nil {
			return claimPlan{class: class.Name}, nil
		}
	}
	name := volume.GetPersistentVolumeClaimClass(claim)
	class := w.class(name)
	selected := claim.Annotations[volume.AnnSelectedNode] != ""
	late := class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	// A claim that waits for its pod is matched by the scheduler, not here; volumes
	// that ask for it are its own.
	v, err := volume.FindMatchingVolume(claim, w.candidates(name, claim), nil, nil, late, true)
	if err != nil {
		return claimPlan{}, fmt.Errorf("find a volume for claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	switch {
	case v != nil:
		return claimPlan{bind: v}, nil
	case late && !selected:
		return claimPlan{phase: corev1.ClaimPending, event: waits(claim, w)}, nil
	case name == "":
		return claimPlan{
			phase: corev1.ClaimPending,
			event: normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
		}, nil
	case class == nil:
		return claimPlan{
			phase: corev1.ClaimPending,
			event: warning("ProvisioningFailed", fmt.Sprintf("storageclass.storage.k8s.io %q not found", name)),
		}, nil
	case class.Provisioner == noProvisioner:
		return claimPlan{
			phase: corev1.ClaimPending,
			event: warning("ProvisioningFailed", fmt.Sprintf("no volume plugin matched name: %s", noProvisioner)),
		}, nil
	}
	return claimPlan{
		phase: corev1.ClaimPending, provisioner: class.Provisioner,
		event: normal("ExternalProvisioning", fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
			"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running "+
			"and correctly registered.", class.Provisioner)),
	}, nil
}

// noProvisioner is the provisioner of classes whose volumes are made by hand.
const noProvisioner = "kubernetes.io/no-provisioner"

func waits(claim *corev1.PersistentVolumeClaim, w world) *event {
	switch pods := w.user(claim); {
	case strings.Contains(pods, ","):
		return normal("WaitForPodScheduled", fmt.Sprintf("waiting for pods %s to be scheduled", pods))
	case pods != "":
		return normal("WaitForPodScheduled", fmt.Sprintf("waiting for pod %s to be scheduled", pods))
	}
	return normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
}

// volumePlan is what to do with a volume.
type volumePlan struct {
	phase  corev1.PersistentVolumePhase // set this phase; "" leaves it
	reason string                       // why it Failed
	// unbind takes the claim off; the reference stays if its user wrote it.
	unbind bool
	// recycle says that a pod empties the volume.
	recycle bool
	erase   string // the directory below /tmp that goes, and the volume with it
	event   *event
}

// planVolume decides about a volume; claim is whom it names, nil if that is gone.
func planVolume(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) volumePlan {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return volumePlan{phase: corev1.VolumeAvailable}
	}
	if claim != nil && claim.UID != ref.UID {
		claim = nil // another one of the same name
	}
	switch {
	case claim == nil:
		return planReleased(v)
	case claim.Spec.VolumeName == v.Name:
		return volumePlan{phase: corev1.VolumeBound}
	case claim.Spec.VolumeName == "":
		if volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec) {
			return volumePlan{event: warning("VolumeMismatch", fmt.Sprintf(
				"Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name))}
		}
		return volumePlan{} // the claim finishes the binding
	case v.Annotations[volume.AnnDynamicallyProvisioned] != "" && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return volumePlan{phase: corev1.VolumeReleased} // made for a claim that took another; its provisioner deletes it
	}
	return volumePlan{unbind: true, phase: corev1.VolumeAvailable}
}

// planReleased is for a volume whose claim is gone.
func planReleased(v *corev1.PersistentVolume) volumePlan {
	failed := func(reason, message string) volumePlan {
		if v.Status.Phase == corev1.VolumeFailed && v.Status.Message == message {
			return volumePlan{}
		}
		return volumePlan{phase: corev1.VolumeFailed, reason: message, event: warning(reason, message)}
	}
	switch {
	case v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeFailed:
		return volumePlan{phase: corev1.VolumeReleased}
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle && recyclerOf(v) != nil:
		return volumePlan{recycle: true}
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle:
		return failed("VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete && !external(v):
		if problem := undeletable(v); problem != "" {
			return failed("VolumeFailedDelete", problem)
		}
		return volumePlan{erase: v.Spec.HostPath.Path}
	}
	return volumePlan{}
}

// hostPath is the provisioner of directories of the machine, for tests.
const hostPath = "kubernetes.io/host-path"

// undeletable says why nobody here can delete a volume: only what was put below /tmp
// for a test can be.
func undeletable(v *corev1.PersistentVolume) string {
	s := &v.Spec.PersistentVolumeSource
	problem := "no volume plugin matched"
	switch by := v.Annotations[volume.AnnDynamicallyProvisioned]; {
	case by != "" && by != hostPath:
		return "no volume plugin matched name: " + by
	case s.HostPath != nil && temporary(s.HostPath.Path):
		return ""
	case s.HostPath != nil:
		return "host_path deleter only supports /tmp/.+ but received provided " + s.HostPath.Path
	case s.NFS != nil, s.FC != nil, s.ISCSI != nil:
		problem = "no deletable volume plugin matched"
	}
	return fmt.Sprintf("error getting deleter volume plugin for volume %q: %s", v.Name, problem)
}

// temporary reports whether a directory is below /tmp.
func temporary(dir string) bool { return strings.HasPrefix(path.Clean(dir), "/tmp/") }

// external says that a provisioner outside deletes the volume.
func external(v *corev1.PersistentVolume) bool {
	by := v.Annotations[volume.AnnDynamicallyProvisioned]
	return by != "" && !strings.HasPrefix(by, "kubernetes.io/") || v.Annotations[volume.AnnMigratedTo] != "" || v.Spec.CSI != nil
}
