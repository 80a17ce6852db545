package attachdetach

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func disk(name string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: name}},
		},
	}
}

func TestDecide(t *testing.T) {
	now := time.Now()
	node := func(ready corev1.ConditionStatus, since time.Duration, mounted ...*corev1.PersistentVolume) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-since))}}
		for _, v := range mounted {
			n.Status.VolumesInUse = append(n.Status.VolumesInUse, unique(v))
		}
		return n
	}
	one, many := disk("one", corev1.ReadWriteOnce), disk("many", corev1.ReadWriteMany)
	attached := func(v *corev1.PersistentVolume) *storagev1.VolumeAttachment {
		a := attachment(v, "n1")
		a.Status.Attached = true
		return a
	}
	serving := corev1.ConditionTrue
	for name, tt := range map[string]struct {
		node        *corev1.Node
		uses        []use
		attachments []*storagev1.VolumeAttachment
		elsewhere   []string
		attach      int
		detach      int
		refused     int
		attached    int
		again       time.Duration
	}{
		"a pod wants it":                  {node: node(serving, 0), uses: []use{{volume: one}, {volume: one}}, attach: 1},
		"it is elsewhere":                 {node: node(serving, 0), uses: []use{{volume: one}}, elsewhere: []string{"n2"}, refused: 1},
		"it may be elsewhere too":         {node: node(serving, 0), uses: []use{{volume: many}}, elsewhere: []string{"n2"}, attach: 1},
		"it is attached":                  {node: node(serving, 0), uses: []use{{volume: one}}, attachments: []*storagev1.VolumeAttachment{attached(one)}, attached: 1},
		"nobody wants it":                 {node: node(serving, 0), attachments: []*storagev1.VolumeAttachment{attached(one)}, detach: 1},
		"still mounted":                   {node: node(serving, 0, one), attachments: []*storagev1.VolumeAttachment{attached(one)}, again: patience},
		"mounted on a node that is mute":  {node: node(corev1.ConditionUnknown, 4*time.Minute, one), attachments: []*storagev1.VolumeAttachment{attached(one)}, again: 2 * time.Minute},
		"mounted on a node mute for long": {node: node(corev1.ConditionUnknown, time.Hour, one), attachments: []*storagev1.VolumeAttachment{attached(one)}, detach: 1},
		"the node is gone":                {attachments: []*storagev1.VolumeAttachment{attached(one)}, detach: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(snapshot{
				name: "n1", node: tt.node, uses: tt.uses, attachments: tt.attachments,
				others: func(string) []string { return tt.elsewhere },
			}, now)
			if len(got.attach) != tt.attach || len(got.detach) != tt.detach || len(got.refused) != tt.refused ||
				len(got.attached) != tt.attached || got.again.Round(time.Second) != tt.again {
				t.Errorf("got %+v", got)
			}
		})
	}
}
