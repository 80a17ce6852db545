package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"
)

// World is what is known of volumes. It has no lock.
type World struct {
	claims     map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes    map[string]*corev1.PersistentVolume
	classes    map[string]*storagev1.StorageClass
	nodes      map[string]*storagev1.CSINode
	drivers    map[string]*storagev1.CSIDriver
	capacities map[types.NamespacedName]*storagev1.CSIStorageCapacity

	attachments map[string]map[string]*storagev1.VolumeAttachment // by node, by name

	users map[types.NamespacedName]map[types.UID]*corev1.Pod // placed pods by claim
	uses  map[types.UID][]types.NamespacedName

	taken  map[string]types.NamespacedName    // volumes that are being bound
	placed map[types.NamespacedName]string    // claims that are being provisioned, and for which node
	owners map[types.UID]Decision             // what is taken for each pod
	chosen map[types.NamespacedName]types.UID // the pod that a claim is being bound for
}

// New returns a world without volumes.
func New() *World {
	return &World{
		claims:      map[types.NamespacedName]*corev1.PersistentVolumeClaim{},
		volumes:     map[string]*corev1.PersistentVolume{},
		classes:     map[string]*storagev1.StorageClass{},
		nodes:       map[string]*storagev1.CSINode{},
		drivers:     map[string]*storagev1.CSIDriver{},
		capacities:  map[types.NamespacedName]*storagev1.CSIStorageCapacity{},
		attachments: map[string]map[string]*storagev1.VolumeAttachment{},
		users:       map[types.NamespacedName]map[types.UID]*corev1.Pod{},
		uses:        map[types.UID][]types.NamespacedName{},
		taken:       map[string]types.NamespacedName{},
		placed:      map[types.NamespacedName]string{},
		owners:      map[types.UID]Decision{},
		chosen:      map[types.NamespacedName]types.UID{},
	}
}

// Set takes in an object of a kind that matters to volumes, or that it is gone.
// It reports whether it is of such a kind.
func (w *World) Set(obj any, deleted bool) bool {
	switch o := obj.(type) {
	case *corev1.PersistentVolumeClaim:
		keep(w.claims, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, o, deleted)
	case *corev1.PersistentVolume:
		keep(w.volumes, o.Name, o, deleted)
	case *storagev1.StorageClass:
		keep(w.classes, o.Name, o, deleted)
	case *storagev1.CSINode:
		keep(w.nodes, o.Name, o, deleted)
	case *storagev1.CSIDriver:
		keep(w.drivers, o.Name, o, deleted)
	case *storagev1.CSIStorageCapacity:
		keep(w.capacities, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, o, deleted)
	case *storagev1.VolumeAttachment:
		if w.attachments[o.Spec.NodeName] == nil {
			w.attachments[o.Spec.NodeName] = map[string]*storagev1.VolumeAttachment{}
		}
		keep(w.attachments[o.Spec.NodeName], o.Name, o, deleted)
		if len(w.attachments[o.Spec.NodeName]) == 0 {
			delete(w.attachments, o.Spec.NodeName)
		}
	default:
		return false
	}
	return true
}

func keep[K comparable, V any](m map[K]V, key K, value V, deleted bool) {
	if deleted {
		delete(m, key)
		return
	}
	m[key] = value
}

// Volume returns a volume as last told of, or nil.
func (w *World) Volume(name string) *corev1.PersistentVolume { return w.volumes[name] }

// Claim returns a claim as last told of, or nil.
func (w *World) Claim(key types.NamespacedName) *corev1.PersistentVolumeClaim { return w.claims[key] }

// SetPod takes in a pod that is on a node.
func (w *World) SetPod(pod *corev1.Pod) {
	keys := Claims(pod)
	if len(keys) == 0 {
		return
	}
	w.uses[pod.UID] = keys
	for _, key := range keys {
		if w.users[key] == nil {
			w.users[key] = map[types.UID]*corev1.Pod{}
		}
		w.users[key][pod.UID] = pod
	}
}

// RemovePod forgets a pod that is on no node any more.
func (w *World) RemovePod(uid types.UID) {
	for _, key := range w.uses[uid] {
		delete(w.users[key], uid)
		if len(w.users[key]) == 0 {
			delete(w.users, key)
		}
	}
	delete(w.uses, uid)
}

// claimsOf are the claims of a pod that is on a node, or waits for room there.
func (w *World) claimsOf(pod *corev1.Pod) []types.NamespacedName {
	if keys, placed := w.uses[pod.UID]; placed || len(pod.Spec.Volumes) == 0 {
		return keys
	}
	return Claims(pod)
}

// Claims returns the claims that a pod names or that are made for it.
func Claims(pod *corev1.Pod) []types.NamespacedName {
	var out []types.NamespacedName
	for i := range pod.Spec.Volumes {
		if name := claimName(pod, &pod.Spec.Volumes[i]); name != "" {
			out = append(out, types.NamespacedName{Namespace: pod.Namespace, Name: name})
		}
	}
	return out
}

func claimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return ephemeral.VolumeClaimName(pod, v)
	}
	return ""
}

// Bound reports whether a claim has its volume for good.
func Bound(claim *corev1.PersistentVolumeClaim) bool {
	if claim.Spec.VolumeName == "" {
		return false
	}
	_, completed := claim.Annotations[volume.AnnBindCompleted]
	return completed || claim.Status.Phase == corev1.ClaimBound
}

func (w *World) classOf(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	return w.classes[volume.GetPersistentVolumeClaimClass(claim)]
}

// waits reports whether a claim is bound only once its first pod has a node.
func (w *World) waits(claim *corev1.PersistentVolumeClaim) bool {
	class := w.classOf(claim)
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// Assume counts what a decision takes as taken for a pod.
func (w *World) Assume(pod *corev1.Pod, d Decision) {
	w.Forget(pod.UID)
	if d.Empty() {
		return
	}
	w.owners[pod.UID] = d
	for _, b := range d.Bind {
		w.taken[b.Volume] = b.Claim
		w.chosen[b.Claim] = pod.UID
	}
	for _, key := range d.Provision {
		w.placed[key] = d.Node
		w.chosen[key] = pod.UID
	}
}

// Forget frees what was assumed for a pod: it is true by now, or never will be.
func (w *World) Forget(uid types.UID) {
	d, ok := w.owners[uid]
	if !ok {
		return
	}
	delete(w.owners, uid)
	for _, b := range d.Bind {
		delete(w.taken, b.Volume)
		delete(w.chosen, b.Claim)
	}
	for _, key := range d.Provision {
		delete(w.placed, key)
		delete(w.chosen, key)
	}
}

// Assumed returns what is taken for a pod.
func (w *World) Assumed(uid types.UID) (Decision, bool) {
	d, ok := w.owners[uid]
	return d, ok
}
