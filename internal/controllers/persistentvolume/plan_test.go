package persistentvolume

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
)

func claim(change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "disk"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "1"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func disk(name, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "disk", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	for _, f := range change {
		f(v)
	}
	return v
}

func of(uid types.UID, phase corev1.PersistentVolumePhase) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "data", UID: uid}
		v.Status.Phase = phase
	}
}

func named(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
}

func bound(c *corev1.PersistentVolumeClaim) {
	c.Annotations = map[string]string{volume.AnnBindCompleted: "yes"}
	c.Status.Phase = corev1.ClaimBound
}

func TestPlanClaim(t *testing.T) {
	class := func(mode storagev1.VolumeBindingMode, provisioner string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Provisioner: provisioner, VolumeBindingMode: &mode}
	}
	now, late := storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	for name, tt := range map[string]struct {
		claim       *corev1.PersistentVolumeClaim
		class       *storagev1.StorageClass
		volumes     []*corev1.PersistentVolume
		bind        string
		phase       corev1.PersistentVolumeClaimPhase
		provisioner string
		reason      string
	}{
		"the smallest that fits": {
			claim: claim(), volumes: []*corev1.PersistentVolume{disk("a", "1Gi"), disk("b", "20Gi"), disk("c", "10Gi")}, bind: "c",
		},
		"one that is asked for by name wins": {
			claim: claim(), volumes: []*corev1.PersistentVolume{disk("a", "5Gi"), disk("b", "20Gi", of("", corev1.VolumeAvailable))}, bind: "b",
		},
		"released ones have data": {
			claim: claim(), volumes: []*corev1.PersistentVolume{disk("a", "5Gi", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })},
			class: class(now, noProvisioner), phase: corev1.ClaimPending, reason: "ProvisioningFailed",
		},
		"no class of that name": {claim: claim(), phase: corev1.ClaimPending, reason: "ProvisioningFailed"},
		"a provisioner is asked": {
			claim: claim(), class: class(now, "example.com/p"), phase: corev1.ClaimPending, provisioner: "example.com/p", reason: "ExternalProvisioning",
		},
		"late binding is the scheduler's": {
			claim: claim(), class: class(late, "example.com/p"), volumes: []*corev1.PersistentVolume{disk("a", "5Gi")},
			phase: corev1.ClaimPending, reason: "WaitForFirstConsumer",
		},
		"its own choice": {claim: claim(named("a")), volumes: []*corev1.PersistentVolume{disk("a", "5Gi")}, bind: "a"},
		"its own choice is too small": {
			claim: claim(named("a")), volumes: []*corev1.PersistentVolume{disk("a", "1Gi")}, phase: corev1.ClaimPending, reason: "VolumeMismatch",
		},
		"its own choice is another's": {
			claim: claim(named("a")), volumes: []*corev1.PersistentVolume{disk("a", "5Gi", of("2", corev1.VolumeBound))},
			phase: corev1.ClaimPending, reason: "FailedBinding",
		},
		"its own choice does not exist yet": {claim: claim(named("a")), phase: corev1.ClaimPending},
		"a crash came between":              {claim: claim(), volumes: []*corev1.PersistentVolume{disk("a", "5Gi", of("1", corev1.VolumeBound))}, bind: "a"},
		"bound stays bound": {
			claim: claim(named("a"), bound), volumes: []*corev1.PersistentVolume{disk("a", "5Gi", of("1", corev1.VolumeBound))}, bind: "a",
		},
		"its volume was deleted": {claim: claim(named("a"), bound), phase: corev1.ClaimLost, reason: "ClaimLost"},
		"its volume is another's": {
			claim: claim(named("a"), bound), volumes: []*corev1.PersistentVolume{disk("a", "5Gi", of("2", corev1.VolumeBound))},
			phase: corev1.ClaimLost, reason: "ClaimMisbound",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{
				class: func(string) *storagev1.StorageClass { return tt.class },
				volume: func(name string) *corev1.PersistentVolume {
					for _, v := range tt.volumes {
						if v.Name == name {
							return v
						}
					}
					return nil
				},
				candidates:   func(string, *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume { return tt.volumes },
				defaultClass: func() *storagev1.StorageClass { return nil },
				user:         func(*corev1.PersistentVolumeClaim) string { return "" },
			}
			got, err := planClaim(tt.claim, w)
			if err != nil {
				t.Fatal(err)
			}
			bind, reason := "", ""
			if got.bind != nil {
				bind = got.bind.Name
			}
			if got.event != nil {
				reason = got.event.reason
			}
			if bind != tt.bind || got.phase != tt.phase || got.provisioner != tt.provisioner || reason != tt.reason {
				t.Errorf("got bind %q, phase %q, provisioner %q, reason %q", bind, got.phase, got.provisioner, reason)
			}
		})
	}
}

func TestPlanVolume(t *testing.T) {
	policy := func(p corev1.PersistentVolumeReclaimPolicy) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeReclaimPolicy = p }
	}
	made := func(v *corev1.PersistentVolume) {
		v.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: "example.com/p"}
	}
	for name, tt := range map[string]struct {
		volume *corev1.PersistentVolume
		claim  *corev1.PersistentVolumeClaim
		want   volumePlan
	}{
		"free":                         {volume: disk("a", "1Gi"), want: volumePlan{phase: corev1.VolumeAvailable}},
		"reserved":                     {volume: disk("a", "1Gi", of("", "")), want: volumePlan{phase: corev1.VolumeAvailable}},
		"bound":                        {volume: disk("a", "1Gi", of("1", "")), claim: claim(named("a")), want: volumePlan{phase: corev1.VolumeBound}},
		"half bound":                   {volume: disk("a", "1Gi", of("1", "")), claim: claim()},
		"the claim is gone":            {volume: disk("a", "1Gi", of("1", corev1.VolumeBound)), want: volumePlan{phase: corev1.VolumeReleased}},
		"another claim of its name":    {volume: disk("a", "1Gi", of("0", corev1.VolumeBound)), claim: claim(named("a")), want: volumePlan{phase: corev1.VolumeReleased}},
		"kept":                         {volume: disk("a", "1Gi", of("1", corev1.VolumeReleased))},
		"its provisioner deletes it":   {volume: disk("a", "1Gi", of("1", corev1.VolumeReleased), policy(corev1.PersistentVolumeReclaimDelete), made)},
		"the claim took another":       {volume: disk("a", "1Gi", of("1", corev1.VolumeBound)), claim: claim(named("b")), want: volumePlan{unbind: true, phase: corev1.VolumeAvailable}},
		"made for one that took other": {volume: disk("a", "1Gi", of("1", corev1.VolumeBound), policy(corev1.PersistentVolumeReclaimDelete), made), claim: claim(named("b")), want: volumePlan{phase: corev1.VolumeReleased}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := planVolume(tt.volume, tt.claim); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestWhoDeletesAReleasedVolume(t *testing.T) {
	in := func(s corev1.PersistentVolumeSource) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.PersistentVolumeSource = s }
	}
	host := func(path string) func(*corev1.PersistentVolume) {
		return in(corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}})
	}
	by := func(name string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: name}
		}
	}
	for name, tt := range map[string]struct {
		change         []func(*corev1.PersistentVolume)
		erase, problem string
	}{
		"a temporary directory":          {[]func(*corev1.PersistentVolume){host("/tmp/a/b")}, "/tmp/a/b", ""},
		"one that was made for it":       {[]func(*corev1.PersistentVolume){host("/tmp/a"), by(hostPath)}, "/tmp/a", ""},
		"a directory":                    {[]func(*corev1.PersistentVolume){host("/srv/a")}, "", "host_path deleter only supports /tmp/.+ but received provided /srv/a"},
		"all temporary directories":      {[]func(*corev1.PersistentVolume){host("/tmp/")}, "", "host_path deleter only supports /tmp/.+ but received provided /tmp/"},
		"a directory that only looks so": {[]func(*corev1.PersistentVolume){host("/tmp/../a")}, "", "host_path deleter only supports /tmp/.+ but received provided /tmp/../a"},
		"a share":                        {[]func(*corev1.PersistentVolume){in(corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}})}, "", `error getting deleter volume plugin for volume "a": no deletable volume plugin matched`},
		"a disk":                         {[]func(*corev1.PersistentVolume){in(corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{}})}, "", `error getting deleter volume plugin for volume "a": no volume plugin matched`},
		"of a provisioner that is gone":  {[]func(*corev1.PersistentVolume){by("kubernetes.io/old")}, "", "no volume plugin matched name: kubernetes.io/old"},
		"of a provisioner":               {[]func(*corev1.PersistentVolume){host("/tmp/a"), by("example.com/p")}, "", ""},
		"of a driver":                    {[]func(*corev1.PersistentVolume){in(corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{}})}, "", ""},
	} {
		v := disk("a", "1Gi", of("1", corev1.VolumeReleased))
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		for _, change := range tt.change {
			change(v)
		}
		got := planVolume(v, nil)
		if got.erase != tt.erase || got.reason != tt.problem || (got.event != nil) != (tt.problem != "") {
			t.Errorf("%s: %+v", name, got)
		}
		v.Status.Phase, v.Status.Message = corev1.VolumeFailed, tt.problem
		if again := planVolume(v, nil); tt.problem != "" && again != (volumePlan{}) {
			t.Errorf("%s: told twice: %+v", name, again)
		}
	}
}

func TestEraseStaysBelow(t *testing.T) {
	top, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{top + "/a/b", top + "/kept"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(other, top+"/out"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{top + "/a", top + "/out", top + "/absent"} {
		if err := eraseBelow(top, dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for dir, there := range map[string]bool{top + "/a": false, top + "/out": false, top + "/kept": true, other: true} {
		if _, err := os.Lstat(dir); (err == nil) != there {
			t.Errorf("%s: %v, should be there: %v", dir, err, there)
		}
	}
}

func TestLostClaimHasNothing(t *testing.T) {
	status := corev1.PersistentVolumeClaimStatus{
		Phase: corev1.ClaimBound, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
	}
	withoutVolume(&status, corev1.ClaimLost)
	if status.Phase != corev1.ClaimLost || status.AccessModes != nil || status.Capacity != nil {
		t.Errorf("%+v", status)
	}
}

func TestWaits(t *testing.T) {
	for pods, want := range map[string]string{
		"":    "waiting for first consumer to be created before binding",
		"a":   "waiting for pod a to be scheduled",
		"a,b": "waiting for pods a,b to be scheduled",
	} {
		w := world{user: func(*corev1.PersistentVolumeClaim) string { return pods }}
		if got := waits(&corev1.PersistentVolumeClaim{}, w).message; got != want {
			t.Errorf("pods %q: %q, want %q", pods, got, want)
		}
	}
}

func TestRecyclerOf(t *testing.T) {
	nfs := func(v *corev1.PersistentVolume) {
		v.Spec.NFS = &corev1.NFSVolumeSource{Server: "files", Path: "/exports/a", ReadOnly: true}
	}
	dir := func(v *corev1.PersistentVolume) { v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/srv/a"} }
	for _, tt := range []struct {
		v    *corev1.PersistentVolume
		want int64
	}{
		{disk("small", "1Gi", dir), 60},
		{disk("big", "5Gi", dir), 150},
		{disk("remote", "5Gi", nfs), 300},
		{disk("large", "11Gi", nfs), 330},
	} {
		if pod := recyclerOf(tt.v); *pod.Spec.ActiveDeadlineSeconds != tt.want || pod.Name != "recycler-for-"+tt.v.Name {
			t.Errorf("%s: %s has %d s", tt.v.Name, pod.Name, *pod.Spec.ActiveDeadlineSeconds)
		}
	}
	other := disk("other", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d"} })
	if pod := recyclerOf(other); pod != nil {
		t.Errorf("made %s", pod.Name)
	}
}
