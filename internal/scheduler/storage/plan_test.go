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

// limited makes a node that can attach one volume of a driver.
func limited(name string) *storagev1.CSINode {
	one := int32(1)
	return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
		{Name: "csi.example.com", Allocatable: &storagev1.VolumeNodeResources{Count: &one}}}}}
}

func TestWhatANodeCanAttach(t *testing.T) {
	yes, volume := true, "pv-left"
	for _, tt := range []struct {
		name, want string
		set        []any
	}{
		{"nothing is known of the node", "", nil},
		{"the driver need not be there", "", []any{&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}}}},
		{"the driver must be there", "csi.example.com CSI driver is not installed on the node", []any{
			&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: &yes}}}},
		{"the driver must be there, and is", "", []any{limited("n1"),
			&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: &yes}}}},
		{"one that no pod uses is still attached", reasonLimit, []any{limited("n1"), &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1", Attacher: "csi.example.com", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}}}}},
	} {
		w, e := New(), engine.New(func(string) map[string]string { return nil })
		e.SetNode(node("n1", "a"))
		w.give("left", corev1.ReadWriteOnce, "")
		w.give("mine", corev1.ReadWriteOnce, "")
		for _, obj := range tt.set {
			w.Set(obj, false)
		}
		p := user("p", "mine", 0)
		plan, _ := w.Plan(p, nil)
		why := e.Explain(engine.Ask{Pod: p, Extras: []engine.Extra{plan}})
		got := ""
		if len(why.Findings) > 0 {
			got = why.Findings[0].Refusals[0].Reason
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// late adds a claim that is bound when its pod has a node.
func (w *World) late(name, size string) {
	wait, class := storagev1.VolumeBindingWaitForFirstConsumer, "late"
	w.Set(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "csi.example.com", VolumeBindingMode: &wait}, false)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	claim.Spec.StorageClassName = &class
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	w.Set(claim, false)
}

// reports makes a driver say what it has in a zone.
func (w *World) reports(zone, capacity string) {
	yes, size := true, resource.MustParse(capacity)
	w.Set(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &yes}}, false)
	w.Set(&storagev1.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Name: zone}, StorageClassName: "late", Capacity: &size,
		NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelTopologyZone: zone}}}, false)
}

func TestGoesWhereMoreStorageIsLeft(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"10Gi", "100Gi", "n2"}, {"100Gi", "10Gi", "n1"}, {"1Gi", "10Gi", "n2"},
	} {
		w, e := New(), engine.New(func(string) map[string]string { return nil })
		e.SetNode(node("n1", "a"))
		e.SetNode(node("n2", "b"))
		w.late("claim", "5Gi")
		w.reports("a", tt.a)
		w.reports("b", tt.b)
		p := user("p", "claim", 0)
		plan, problem := w.Plan(p, engine.DefaultProfile())
		if problem != "" {
			t.Fatal(problem)
		}
		if got, _ := e.Place(engine.Ask{Pod: p, Extras: []engine.Extra{plan}}); got != tt.want {
			t.Errorf("%s and %s: got %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
}

// A node may have more than one thing against a pod's claims.
func TestAllReasonsOfANode(t *testing.T) {
	w, e := New(), engine.New(func(string) map[string]string { return nil })
	e.SetNode(node("n1", "a"))
	w.give("there", corev1.ReadWriteOnce, "")
	w.late("late", "5Gi")
	w.reports("a", "1Gi")
	v := w.Volume("pv-there").DeepCopy()
	v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}}}}}}
	w.Set(v, false)
	p := user("p", "there", 0)
	p.Spec.Volumes = append(p.Spec.Volumes, user("q", "late", 0).Spec.Volumes...)
	plan, problem := w.Plan(p, nil)
	if problem != "" {
		t.Fatal(problem)
	}
	want := "0/1 nodes are available: 1 node(s) did not have enough free storage, 1 node(s) didn't match PersistentVolume's node affinity."
	if got := e.Explain(engine.Ask{Pod: p, Extras: []engine.Extra{plan}}).Message(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A claim whose volume is gone keeps its pod from every node, unless nobody asks for
// its zone; then each node says so.
func TestAVolumeThatIsGone(t *testing.T) {
	w, e := New(), engine.New(func(string) map[string]string { return nil })
	e.SetNode(node("n1", "a"))
	w.give("lost", corev1.ReadWriteOnce, "")
	w.Set(w.Volume("pv-lost"), true)
	p := user("p", "lost", 0)
	profile := engine.DefaultProfile()
	if _, problem := w.Plan(p, profile); problem != `persistentvolume "pv-lost" not found` {
		t.Errorf("got %q", problem)
	}
	profile.Off = map[engine.Rule]bool{engine.RuleVolumeZone: true}
	plan, problem := w.Plan(p, profile)
	if problem != "" {
		t.Fatal(problem)
	}
	want := "0/1 nodes are available: 1 " + reasonNotThere + "."
	if got := e.Explain(engine.Ask{Pod: p, Profile: profile, Extras: []engine.Extra{plan}}).Message(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A claim that is missing is told of before one that is still to be made.
func TestAMissingClaimIsToldFirst(t *testing.T) {
	p := user("p", "missing", 0)
	p.Spec.Volumes = append([]corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}, p.Spec.Volumes...)
	if _, problem := New().Plan(p, nil); problem != `persistentvolumeclaim "missing" not found` {
		t.Errorf("got %q", problem)
	}
}

// What pods use that wait for room on a node counts there.
func TestClaimsOfNominatedPods(t *testing.T) {
	w, e := New(), engine.New(func(string) map[string]string { return nil })
	e.SetNode(node("n1", "a"))
	w.Set(limited("n1"), false)
	w.give("theirs", corev1.ReadWriteOnce, "")
	w.give("mine", corev1.ReadWriteOnce, "")
	place := func(p *corev1.Pod) string {
		plan, problem := w.Plan(p, nil)
		if problem != "" {
			return problem
		}
		ask := engine.Ask{Pod: p, Extras: []engine.Extra{plan}}
		if n, ok := e.Place(ask); ok {
			return n
		}
		return e.Explain(ask).Message()
	}
	e.Nominate(user("guest", "theirs", 1), "n1")
	if got, want := place(user("p", "mine", 0)), "0/1 nodes are available: 1 "+reasonLimit+"."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := place(user("q", "theirs", 0)); got != "n1" {
		t.Errorf("what the guest has too: %s", got)
	}
	e.RemoveNomination("guest")
	w.give("alone", corev1.ReadWriteOncePod, "")
	e.Nominate(user("first", "alone", 1), "n1")
	if got, want := place(user("r", "alone", 0)), "0/1 nodes are available: 1 "+reasonExclusive+"."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A disk that another pod writes to is told of before a claim that another pod has.
func TestADiskIsToldBeforeAClaim(t *testing.T) {
	w, e := New(), engine.New(func(string) map[string]string { return nil })
	e.SetNode(node("n1", "a"))
	w.give("alone", corev1.ReadWriteOncePod, "")
	both := func(name string) *corev1.Pod {
		p := user(name, "alone", 0)
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "d", VolumeSource: corev1.VolumeSource{
			GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "d"}}})
		return p
	}
	there := both("there")
	e.SetPod(there, "n1")
	w.SetPod(there)
	p := both("p")
	plan, _ := w.Plan(p, nil)
	want := "0/1 nodes are available: 1 " + reasonDisk + "."
	if got := e.Explain(engine.Ask{Pod: p, Extras: []engine.Extra{plan}}).Message(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
