package storage

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

func node(name, zone string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}},
	}
}

// give makes a claim that has a volume.
func (w *World) give(name string, mode corev1.PersistentVolumeAccessMode, zone string) {
	w.Set(&corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name, AccessModes: []corev1.PersistentVolumeAccessMode{mode}},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}, false)
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}}
	v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "csi.example.com", VolumeHandle: name}
	if zone != "" {
		v.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	}
	w.Set(v, false)
}

func user(name, claim string, priority int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c"}}, Volumes: []corev1.Volume{{Name: "v",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}},
	}
}

func TestWhereVolumesLetAPodGo(t *testing.T) {
	w, e := New(), engine.New(func(string) map[string]string { return nil })
	e.SetNode(node("n1", "a"))
	e.SetNode(node("n2", "b"))
	one := int32(1)
	w.Set(&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
		{Name: "csi.example.com", Allocatable: &storagev1.VolumeNodeResources{Count: &one}}}}}, false)
	w.give("exclusive", corev1.ReadWriteOncePod, "")
	w.give("zonal", corev1.ReadWriteOnce, "a__c")
	w.give("zonal2", corev1.ReadWriteOnce, "a")
	place := func(p *corev1.Pod) string {
		t.Helper()
		plan, problem := w.Plan(p, nil)
		if problem != "" {
			return problem
		}
		ask := engine.Ask{Pod: p, Extras: []engine.Extra{plan}}
		n, ok := e.Place(ask)
		if !ok {
			return e.Explain(ask).Message()
		}
		e.SetPod(p, n)
		w.SetPod(p)
		return n
	}
	for _, tt := range []struct{ name, claim, want string }{
		{"in its zone", "zonal", "n1"},
		{"shares what is attached", "zonal", "n1"},
		{"one more than the node attaches", "zonal2", "0/2 nodes are available: 1 node(s) exceed max volume count, 1 node(s) had no available volume zone."},
		{"alone", "exclusive", "n2"},
		{"not alone", "exclusive", "0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod."},
		{"no claim", "missing", `persistentvolumeclaim "missing" not found`},
	} {
		if got := place(user(tt.name, tt.claim, 0)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	// Who has a volume that one pod may use gives way to who matters more.
	p := user("important", "exclusive", 1)
	plan, _ := w.Plan(p, nil)
	found, why := e.Preempt(engine.Ask{Pod: p, Extras: []engine.Extra{plan}}, nil)
	if found == nil || found.Node != "n2" || len(found.Victims) != 1 || found.Victims[0].Name != "alone" {
		t.Errorf("preemption: %+v, %s", found, why.Message())
	}
}
