package scheduler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
