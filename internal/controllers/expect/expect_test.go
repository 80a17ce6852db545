package expect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func pod(uid types.UID, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: version}}
}

func terminating(uid types.UID, version string) *corev1.Pod {
	p := pod(uid, version)
	now := metav1.Now()
	p.DeletionTimestamp = &now
	return p
}

func TestSettled(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name    string
		write   func(*Tracker)
		visible []*corev1.Pod
		after   time.Duration
		want    bool
	}{
		{name: "nothing was written", write: func(*Tracker) {}, want: true},
		{name: "created, not shown", write: func(t *Tracker) { t.Created("o", pod("a", "10"), start) }},
		{name: "created and shown", write: func(t *Tracker) { t.Created("o", pod("a", "10"), start) },
			visible: []*corev1.Pod{pod("a", "10")}, want: true},
		{name: "created, not shown, the cache went past it a moment ago", write: func(t *Tracker) {
			t.Created("o", pod("a", "10"), start)
			t.Seen(pod("b", "11"))
		}, after: time.Second},
		{name: "created and deleted by others unseen", write: func(t *Tracker) {
			t.Created("o", pod("a", "10"), start)
			t.Seen(pod("b", "11"))
		}, after: missed, want: true},
		{name: "updated, the old state is shown", write: func(t *Tracker) { t.Updated("o", pod("a", "10"), start) },
			visible: []*corev1.Pod{pod("a", "9")}},
		{name: "updated, a later state is shown", write: func(t *Tracker) { t.Updated("o", pod("a", "10"), start) },
			visible: []*corev1.Pod{pod("a", "12")}, want: true},
		{name: "deleted, still shown as it was", write: func(t *Tracker) { t.Deleted("o", "a", start) },
			visible: []*corev1.Pod{pod("a", "9")}},
		{name: "deleted, shown as terminating", write: func(t *Tracker) { t.Deleted("o", "a", start) },
			visible: []*corev1.Pod{terminating("a", "9")}, want: true},
		{name: "a cache that never shows it", write: func(t *Tracker) { t.Created("o", pod("a", "10"), start) }, after: lost, want: true},
		{name: "another owner's", write: func(t *Tracker) { t.Created("other", pod("a", "10"), start) }, want: true},
		{name: "of an owner that is gone", write: func(t *Tracker) {
			t.Created("o", pod("a", "10"), start)
			t.Forget("o")
		}, want: true},
	} {
		tracker := New()
		tt.write(tracker)
		got, again := Settled(tracker, "o", tt.visible, start.Add(tt.after))
		if got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if !got && again <= 0 {
			t.Errorf("%s: nobody asks again", tt.name)
		}
		if got && tracker.owners["o"] != nil {
			t.Errorf("%s: something is kept for an owner at rest", tt.name)
		}
	}
}
