package controllers_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func volumeOf(name, size, class string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			StorageClassName:              class,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp/" + name}},
		},
	}
}

func claimOf(name, size, class string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
}

// TestVolumeIsRecycled: a volume is free again once a pod has emptied it, and not before.
func TestVolumeIsRecycled(t *testing.T) {
	e := start(t)
	v := volumeOf("again", "3Gi", "manual")
	v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRecycle
	claim := claimOf("data", "1Gi", "manual")
	e.create(v, claim)
	e.until("the claim is bound", func() bool { return get(e, claim).Status.Phase == corev1.ClaimBound })
	e.gone(deleted(e, claim))

	pod := &corev1.Pod{ObjectMeta: meta("recycler-for-again")}
	e.until("a pod empties the volume", func() bool { return e.Get(e.ctx, keyOf(pod), pod) == nil })
	if s := pod.Spec.Volumes[0].HostPath; s == nil || s.Path != "/tmp/again" || *pod.Spec.ActiveDeadlineSeconds != 90 {
		t.Errorf("it has volume %+v and %d s", s, *pod.Spec.ActiveDeadlineSeconds)
	}
	if get(e, v).Status.Phase != corev1.VolumeReleased {
		t.Errorf("meanwhile the volume is %s", v.Status.Phase)
	}
	e.setPhase(*pod, corev1.PodSucceeded, false)
	e.until("the volume is free", func() bool { return get(e, v).Status.Phase == corev1.VolumeAvailable && v.Spec.ClaimRef == nil })
	e.gone(pod)

	again := claimOf("more", "1Gi", "manual")
	e.create(again)
	e.until("another has it", func() bool { return get(e, again).Status.Phase == corev1.ClaimBound })
	e.gone(deleted(e, again))
	e.until("a pod empties it", func() bool { return e.Get(e.ctx, keyOf(pod), pod) == nil })
	e.setPhase(*pod, corev1.PodFailed, false)
	e.until("that does not work", func() bool {
		return get(e, v).Status.Phase == corev1.VolumeFailed &&
			v.Status.Message == "Recycle failed: failed to recycle volume: pod failed, pod.Status.Message unknown"
	})
	e.gone(pod)
}

func deleted[T client.Object](e *env, obj T) T {
	e.Helper()
	if err := e.Delete(e.ctx, obj); err != nil {
		e.Fatal(err)
	}
	return obj
}

func TestClaimsAreBoundAndVolumesReleased(t *testing.T) {
	e := start(t)
	e.create(volumeOf("small", "2Gi", "manual"), volumeOf("other", "1Gi", "else"))
	claim := claimOf("data", "1Gi", "manual")
	e.create(claim)
	e.until("the claim has the volume that fits", func() bool {
		claim = get(e, claim)
		return claim.Status.Phase == corev1.ClaimBound && claim.Spec.VolumeName == "small"
	})
	e.create(volumeOf("big", "10Gi", "manual"))
	if got := claim.Status.Capacity[corev1.ResourceStorage]; got.String() != "2Gi" {
		t.Errorf("capacity is %s", &got)
	}
	v := get(e, volumeOf("small", "1Gi", ""))
	if v.Status.Phase != corev1.VolumeBound || v.Spec.ClaimRef.UID != claim.UID {
		t.Errorf("the volume is %s of %v", v.Status.Phase, v.Spec.ClaimRef)
	}

	// One that nothing satisfies waits, until a volume comes.
	waiting := claimOf("waiting", "50Gi", "manual")
	e.create(waiting)
	e.until("it waits", func() bool { return get(e, waiting).Status.Phase == corev1.ClaimPending })
	e.create(volumeOf("huge", "100Gi", "manual"))
	e.until("it is bound", func() bool { return get(e, waiting).Spec.VolumeName == "huge" })
	// So does one that names a volume which is not there yet.
	naming := claimOf("naming", "1Gi", "manual")
	naming.Spec.VolumeName = "late"
	e.create(naming)
	e.until("it waits for that", func() bool { return get(e, naming).Status.Phase == corev1.ClaimPending })
	e.create(volumeOf("late", "1Gi", "manual"))
	e.until("it has that", func() bool { return get(e, naming).Status.Phase == corev1.ClaimBound })

	if err := e.Delete(e.ctx, claim); err != nil {
		t.Fatal(err)
	}
	e.until("the claim is gone", func() bool {
		return apierrors.IsNotFound(e.Get(e.ctx, client.ObjectKeyFromObject(claim), claim))
	})
	e.until("the volume is released", func() bool { return get(e, v).Status.Phase == corev1.VolumeReleased })
	again := claimOf("again", "1Gi", "manual")
	e.create(again)
	e.until("nobody gets a volume with another's data", func() bool { return get(e, again).Spec.VolumeName == "big" })
}

func TestClaimsThatPodsUseStay(t *testing.T) {
	e := start(t)
	v := volumeOf("kept", "1Gi", "manual")
	claim := claimOf("kept", "1Gi", "manual")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "user"},
		Spec: corev1.PodSpec{
			NodeName:   "n1",
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "kept"}}}},
		},
	}
	e.create(v, claim, pod)
	e.until("it is bound", func() bool { return get(e, claim).Status.Phase == corev1.ClaimBound })
	for _, obj := range []client.Object{claim, v} {
		if err := e.Delete(e.ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	if get(e, claim).DeletionTimestamp == nil || get(e, v).DeletionTimestamp == nil {
		t.Error("they are not being deleted")
	}
	if err := e.Delete(e.ctx, pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{claim, v} {
		e.until(obj.GetName()+" is gone", func() bool {
			return apierrors.IsNotFound(e.Get(e.ctx, client.ObjectKeyFromObject(obj), obj))
		})
	}
}

func TestAttributeClassesInUseStay(t *testing.T) {
	e := start(t)
	class := &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: "fast"}, DriverName: "d.example.com", Parameters: map[string]string{"iops": "1"},
	}
	claim := claimOf("data", "1Gi", "none")
	claim.Spec.VolumeAttributesClassName = &class.Name
	e.create(class, claim)
	e.until("it is kept", func() bool { return len(get(e, class).Finalizers) == 1 })
	if err := e.Delete(e.ctx, class); err != nil {
		t.Fatal(err)
	}
	if get(e, class).DeletionTimestamp == nil {
		t.Error("it is not being deleted")
	}
	if err := e.Delete(e.ctx, claim); err != nil {
		t.Fatal(err)
	}
	e.until("it is gone", func() bool { return apierrors.IsNotFound(e.Get(e.ctx, client.ObjectKeyFromObject(class), class)) })
}

func TestLateBindingAndProvisioning(t *testing.T) {
	e := start(t)
	late := storagev1.VolumeBindingWaitForFirstConsumer
	e.create(&storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "late", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "example.com/disk", VolumeBindingMode: &late,
	})
	e.create(volumeOf("there", "1Gi", "late"))
	claim := claimOf("late", "1Gi", "")
	claim.Spec.StorageClassName = nil
	e.create(claim)
	e.until("it says that it waits", func() bool {
		var list corev1.EventList
		if err := e.List(e.ctx, &list, client.InNamespace("default")); err != nil {
			t.Fatal(err)
		}
		for _, ev := range list.Items {
			if ev.InvolvedObject.Name == "late" && ev.Reason == "WaitForFirstConsumer" {
				return true
			}
		}
		return false
	})
	claim = get(e, claim)
	if *claim.Spec.StorageClassName != "late" || claim.Spec.VolumeName != "" || claim.Status.Phase != corev1.ClaimPending {
		t.Errorf("class %v, volume %q, phase %s", claim.Spec.StorageClassName, claim.Spec.VolumeName, claim.Status.Phase)
	}
	claim.Annotations = map[string]string{"volume.kubernetes.io/selected-node": "n1"}
	if err := e.Update(e.ctx, claim); err != nil {
		t.Fatal(err)
	}
	e.until("the provisioner is asked", func() bool {
		return get(e, claim).Annotations["volume.kubernetes.io/storage-provisioner"] == "example.com/disk"
	})
}

func TestEphemeralVolumesHaveClaims(t *testing.T) {
	e := start(t)
	template := claimOf("", "1Gi", "none")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
				VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: template.Spec}}}}},
		},
	}
	e.create(pod)
	claim := claimOf("web-cache", "1Gi", "none")
	e.until("the claim is there", func() bool {
		return e.Get(e.ctx, client.ObjectKeyFromObject(claim), claim) == nil
	})
	if !metav1.IsControlledBy(claim, pod) {
		t.Errorf("its owners are %v", claim.OwnerReferences)
	}
}

func TestVolumesAreAttached(t *testing.T) {
	e := start(t)
	e.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	v := volumeOf("disk", "1Gi", "csi")
	v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com", VolumeHandle: "h1"}}
	claim := claimOf("disk", "1Gi", "csi")
	e.create(v, claim)
	e.until("it is bound", func() bool { return get(e, claim).Status.Phase == corev1.ClaimBound })
	user := func(name, node string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.PodSpec{
				NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}},
				Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "disk"}}}},
			},
		}
	}
	attachments := func() []storagev1.VolumeAttachment {
		var list storagev1.VolumeAttachmentList
		if err := e.List(e.ctx, &list); err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	first := user("first", "n1")
	e.create(first)
	e.until("it is asked to be attached", func() bool { return len(attachments()) == 1 })
	a := attachments()[0]
	a.Status.Attached = true
	if err := e.Status().Update(e.ctx, &a); err != nil {
		t.Fatal(err)
	}
	e.until("the node hears of it", func() bool {
		node := get(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		return len(node.Status.VolumesAttached) == 1 && node.Status.VolumesAttached[0].Name == "kubernetes.io/csi/disk.example.com^h1"
	})
	// A second node gets it when the first has lost it.
	e.create(user("second", "n2"))
	if err := e.Delete(e.ctx, first, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	e.until("it moves", func() bool {
		all := attachments()
		return len(all) == 1 && all[0].Spec.NodeName == "n2"
	})
}

// TestVolumeOfALateClaim: a volume is attached too if its claim is bound only when the
// pod has a node.
func TestVolumeOfALateClaim(t *testing.T) {
	e := start(t)
	claim := claimOf("late", "1Gi", "csi")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "early"},
		Spec: corev1.PodSpec{
			NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "late"}}}},
		},
	}
	e.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, claim, pod)
	v := volumeOf("late", "1Gi", "csi")
	v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.com", VolumeHandle: "h2"}}
	e.create(v)
	e.until("it is asked to be attached", func() bool {
		var list storagev1.VolumeAttachmentList
		if err := e.List(e.ctx, &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items) == 1 && list.Items[0].Spec.NodeName == "n1"
	})
}

// until waits until something is so.
func (e *env) until(what string, so func() bool) {
	e.Helper()
	e.eventually(what, func() error {
		if so() {
			return nil
		}
		return errors.New("it is not so")
	})
}
