package events_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/sinawi/sinawi/internal/controllers/events"
)

// TestDamped: what an object floods with is heard in part, and drowns neither what else
// it tells nor what others tell.
func TestDamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := map[string]int{}
		r := events.Damped(counting{heard})
		object := func(name string) runtime.Object {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-one"}}
		}
		other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "uid-other"}}
		for range 5000 {
			r.Eventf(object("one"), corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", "p")
		}
		if got := heard["one SuccessfulCreate"]; got != 100 {
			t.Errorf("of a flood %d events were heard, want 100", got)
		}
		r.Event(object("one"), corev1.EventTypeWarning, "FailedCreate", "no")
		r.AnnotatedEventf(other, nil, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: p")
		r.Event(&corev1.ObjectReference{Name: "ref"}, corev1.EventTypeNormal, "Said", "of a reference")
		for _, want := range []string{"one FailedCreate", "other SuccessfulCreate", "ref Said"} {
			if heard[want] != 1 {
				t.Errorf("%s was not heard: %v", want, heard)
			}
		}
		time.Sleep(time.Second)
		for range 5000 {
			r.Event(object("one"), corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: p")
		}
		if got := heard["one SuccessfulCreate"]; got != 110 {
			t.Errorf("a second later %d events were heard, want 110", got)
		}
	})
}

// counting counts events by object and reason.
type counting struct{ heard map[string]int }

var _ record.EventRecorder = counting{}

func (c counting) Event(obj runtime.Object, _, reason, _ string) {
	name := ""
	switch o := obj.(type) {
	case *corev1.Pod:
		name = o.Name
	case *corev1.ObjectReference:
		name = o.Name
	}
	c.heard[fmt.Sprintf("%s %s", name, reason)]++
}

func (c counting) Eventf(obj runtime.Object, kind, reason, _ string, _ ...any) {
	c.Event(obj, kind, reason, "")
}

func (c counting) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, _ string, _ ...any) {
	c.Event(obj, kind, reason, "")
}
