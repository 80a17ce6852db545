package core

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func event1(change func(*corev1.Event)) *corev1.Event {
	e := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x", ResourceVersion: "1"}, EventTime: metav1.NewMicroTime(time.Unix(1, 0)),
		InvolvedObject: corev1.ObjectReference{Namespace: "b"}, Type: "Normal",
		ReportingController: "c", ReportingInstance: "i", Action: "a", Reason: "r",
	}
	change(e)
	return e
}

func TestEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.Event)
		strict bool
		want   []string
	}{
		"about another namespace":   {change: func(*corev1.Event) {}, strict: true},
		"old, of another namespace": {change: func(e *corev1.Event) { e.EventTime = metav1.MicroTime{} }, want: []string{`involvedObject.namespace: Invalid value: "b": does not match event.namespace`}},
		"old, without the rest": {change: func(e *corev1.Event) {
			e.EventTime, e.InvolvedObject.Namespace, e.Action, e.ReportingController = metav1.MicroTime{}, "a", "", ""
		}},
		"nothing said": {change: func(e *corev1.Event) { e.ReportingInstance, e.Action, e.Reason = "", "", "" },
			want: []string{"reportingInstance: Required value", "action: Required value", "reason: Required value"}},
		"controller by the name of the core group": {change: func(e *corev1.Event) { e.ReportingController = "a/" },
			want: []string{`reportingComponent: Invalid value: "a/": name part must be non-empty`,
				`reportingComponent: Invalid value: "a/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`}},
		"fields of old": {change: func(e *corev1.Event) {
			e.Count, e.FirstTimestamp, e.LastTimestamp, e.Source.Host = 1, metav1.Unix(1, 0), metav1.Unix(1, 0), "h"
		}, strict: true, want: []string{`firstTimestamp: Invalid value: "": needs to be unset`, `lastTimestamp: Invalid value: "": needs to be unset`,
			`count: Invalid value: "": needs to be unset`, `source: Invalid value: "": needs to be unset`}},
		"series without a time": {change: func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 2} }, strict: true,
			want: []string{"series.lastObservedTime: Required value"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range Event(event1(tc.change), tc.strict) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEventUpdate(t *testing.T) {
	old := event1(func(*corev1.Event) {})
	counted := event1(func(e *corev1.Event) { e.Count = 2 })
	if errs := EventUpdate(counted, old, false); len(errs) > 0 {
		t.Errorf("the count may change in the core group: %v", errs)
	}
	if errs := EventUpdate(counted, old, true); len(errs) != 1 || errs[0].Field != "count" {
		t.Errorf("got %v, want the count refused", errs)
	}
}
