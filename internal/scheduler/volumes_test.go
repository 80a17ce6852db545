package scheduler_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

func (r *rig) addClass(name, provisioner string) {
	r.Helper()
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	_, err := r.StorageV1().StorageClasses().Create(r.ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode,
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) addClaim(name, class string) {
	r.Helper()
	_, err := r.CoreV1().PersistentVolumeClaims("default").Create(r.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// addVolume makes an available volume that one node reaches.
func (r *rig) addVolume(name, class, node string) {
	r.Helper()
	v, err := r.CoreV1().PersistentVolumes().Create(r.ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/data"}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	v.Status.Phase = corev1.VolumeAvailable
	if _, err := r.CoreV1().PersistentVolumes().UpdateStatus(r.ctx, v, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func uses(claim string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}})
	}
}

// bindClaim does what the volume controller does once the scheduler has chosen.
func (r *rig) bindClaim(name, volume string) {
	r.Helper()
	patch := []byte(`{"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes"}},"spec":{"volumeName":"` + volume + `"}}`)
	if _, err := r.CoreV1().PersistentVolumeClaims("default").Patch(r.ctx, name, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		r.Fatal(err)
	}
}

func TestBindsAVolumeWhereThePodGoes(t *testing.T) {
	r := start(t)
	r.addNode("n1", "4")
	r.addNode("n2", "4")
	r.addClass("local", "kubernetes.io/no-provisioner")
	r.addClaim("data", "local")
	r.addPod("db", "1", uses("data"))
	r.awaitUnschedulable("db", "2 node(s) didn't find available persistent volumes to bind")
	r.addVolume("disk", "local", "n2")
	w, err := r.CoreV1().PersistentVolumes().Watch(r.ctx, metav1.ListOptions{FieldSelector: "metadata.name=disk"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if v, ok := e.Object.(*corev1.PersistentVolume); ok && v.Spec.ClaimRef != nil {
			if v.Spec.ClaimRef.Name != "data" {
				t.Fatalf("bound to %s", v.Spec.ClaimRef.Name)
			}
			break
		}
	}
	if p := r.get("db"); p.Spec.NodeName != "" {
		t.Fatal("bound before its volume was")
	}
	r.bindClaim("data", "disk")
	r.awaitNode("db", "n2")
}

func TestChoosesWhereAVolumeIsProvisioned(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	r.addNode("n2", "4")
	r.addClass("fast", "csi.example.com")
	r.addClaim("data", "fast")
	r.addPod("db", "2", uses("data"))
	w, err := r.CoreV1().PersistentVolumeClaims("default").Watch(r.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			t.Fatal(e.Object)
		}
		if node := e.Object.(*corev1.PersistentVolumeClaim).Annotations["volume.kubernetes.io/selected-node"]; node != "" {
			if node != "n2" {
				t.Fatalf("selected %s", node)
			}
			break
		}
	}
	r.await("db", "expected on n2", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n2" })
	r.addPod("lost", "1", uses("absent"))
	r.awaitUnschedulable("lost", `nodes are available: persistentvolumeclaim "absent" not found. not found`)
	r.addVolume("made", "fast", "n2")
	r.bindClaim("data", "made")
	r.awaitNode("db", "n2")
	if p := r.get("db"); p.Status.NominatedNodeName != "" {
		t.Errorf("bound, and still nominated to %s", p.Status.NominatedNodeName)
	}
}

func TestAllocatesDevices(t *testing.T) {
	r := start(t)
	r.addNode("n1", "4")
	r.addNode("n2", "4")
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "gpu.example.com"`}}}}}
	if _, err := r.ResourceV1().DeviceClasses().Create(r.ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	claims := r.ResourceV1().ResourceClaims("default")
	for _, name := range []string{"first", "second"} {
		claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"}}}}}}
		if _, err := claims.Create(r.ctx, claim, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &name}}
		}
	}
	r.addPod("train", "1", wants("first"))
	r.awaitUnschedulable("train", "cannot allocate all claims")
	node := "n2"
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "n2-gpus"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.example.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: "n2", ResourceSliceCount: 1},
		Devices: []resourcev1.Device{{Name: "gpu0"}}}}
	if _, err := r.ResourceV1().ResourceSlices().Create(r.ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := r.await("train", "bound", bound)
	claim, err := claims.Get(r.ctx, "first", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.NodeName != "n2" || claim.Status.Allocation == nil || claim.Status.Allocation.Devices.Results[0].Device != "gpu0" ||
		len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != p.UID {
		t.Errorf("on %s, claim %+v", p.Spec.NodeName, claim.Status)
	}
	r.addPod("infer", "1", wants("second"))
	r.awaitUnschedulable("infer", "cannot allocate all claims")
	r.movesAnIdleClaim(claim, slice, wants("first"))
}

// movesAnIdleClaim takes the node of a claim out of service that nobody uses any more:
// it gets other devices where its next pod can be.
func (r *rig) movesAnIdleClaim(claim *resourcev1.ResourceClaim, slice *resourcev1.ResourceSlice, wants func(*corev1.Pod)) {
	r.Helper()
	claim.Status.ReservedFor = nil
	if _, err := r.ResourceV1().ResourceClaims("default").UpdateStatus(r.ctx, claim, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
	cordon := []byte(`{"spec":{"unschedulable":true}}`)
	if _, err := r.CoreV1().Nodes().Patch(r.ctx, "n2", types.MergePatchType, cordon, metav1.PatchOptions{}); err != nil {
		r.Fatal(err)
	}
	other := slice.DeepCopy()
	node := "n1"
	other.Spec.Devices = append(other.Spec.Devices, resourcev1.Device{Name: "gpu1"}) // another pod waits for one
	other.ObjectMeta, other.Spec.NodeName, other.Spec.Pool.Name = metav1.ObjectMeta{Name: "n1-gpus"}, &node, "n1"
	if _, err := r.ResourceV1().ResourceSlices().Create(r.ctx, other, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
	r.addPod("again", "1", wants)
	r.awaitNode("again", "n1")
}
