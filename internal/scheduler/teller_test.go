package scheduler

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler/backlog"
)

// A condition is written when it says something else, and its time is when its status
// changed.
func TestConditionsKeepTheirTime(t *testing.T) {
	before, now := metav1.Unix(1, 0), metav1.Unix(2, 0)
	old := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no room", LastTransitionTime: before}
	for _, tt := range []struct {
		name       string
		conditions []corev1.PodCondition
		status     corev1.ConditionStatus
		message    string
		news       bool
		at         time.Time
	}{
		{"the first", nil, corev1.ConditionFalse, "no room", true, now.Time},
		{"beside another", []corev1.PodCondition{{Type: corev1.PodReady}}, corev1.ConditionFalse, "no room", true, now.Time},
		{"the same", []corev1.PodCondition{old}, corev1.ConditionFalse, "no room", false, before.Time},
		{"other words", []corev1.PodCondition{old}, corev1.ConditionFalse, "no node", true, before.Time},
		{"another status", []corev1.PodCondition{old}, corev1.ConditionTrue, "no room", true, now.Time},
	} {
		got := corev1.PodCondition{Type: corev1.PodScheduled, Status: tt.status, Reason: "Unschedulable", Message: tt.message, LastTransitionTime: now}
		if news := setCondition(corev1.PodStatus{Conditions: tt.conditions}, &got); news != tt.news {
			t.Errorf("%s: news is %v", tt.name, news)
		}
		if !got.LastTransitionTime.Time.Equal(tt.at) {
			t.Errorf("%s: changed at %v", tt.name, got.LastTransitionTime)
		}
	}
}

// patches takes patches of a status.
type patches struct {
	client.Client
	last string
}

func (p *patches) Status() client.SubResourceWriter { return statuses{to: p} }

type statuses struct {
	client.SubResourceWriter
	to *patches
}

func (s statuses) Patch(_ context.Context, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	data, err := patch.Data(obj)
	s.to.last = string(data)
	return err
}

// A pod that is told something may be seen as it was before for a while. What it is told
// next is compared with what it was told, not with that.
func TestWhatWasSaidLastCounts(t *testing.T) {
	n1, nowhere := "n1", ""
	pod := &corev1.Pod{}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no room"}}
	for _, tt := range []struct {
		name     string
		toldNode *string
		node     string
		told     bool
	}{
		{"nothing was said", nil, nowhere, true},
		{"nothing was said, and it is new", nil, n1, false},
		{"said, and not seen yet", &n1, n1, false},
		{"something else was said, and is not seen yet", &n1, nowhere, false},
		{"the same was said", &nowhere, nowhere, true},
	} {
		if got := told(&backlog.Waiting{Pod: pod, ToldNode: tt.toldNode}, tt.node); got != tt.told {
			t.Errorf("%s: told is %v", tt.name, got)
		}
	}
	for _, tt := range []struct {
		name    string
		news    news
		written bool
	}{
		{"what it shows already", news{message: "no room", first: true}, false},
		{"what it may only seem to show", news{message: "no room"}, true},
		{"other words", news{message: "no node", first: true}, true},
		{"nowhere", news{nominated: &nowhere}, true},
	} {
		taken := &patches{}
		tt.news.pod, tt.news.reason = pod, "Unschedulable"
		if err := newTeller(taken).write(t.Context(), tt.news); err != nil {
			t.Fatal(err)
		}
		if written := taken.last != ""; written != tt.written {
			t.Errorf("%s: wrote %q", tt.name, taken.last)
		}
	}
}
