package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestTolerance(t *testing.T) {
	a := corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute}
	b := corev1.Taint{Key: "b", Effect: corev1.TaintEffectNoExecute}
	tolerates := func(key string, seconds ...int64) corev1.Toleration {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		for _, s := range seconds {
			t.TolerationSeconds = &s
		}
		return t
	}
	for _, tt := range []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		want        time.Duration
		limited     bool
	}{
		{"tolerates nothing", nil, []corev1.Taint{a}, 0, true},
		{"tolerates for ever", []corev1.Toleration{tolerates("a")}, []corev1.Taint{a}, 0, false},
		{"tolerates one of two", []corev1.Toleration{tolerates("a")}, []corev1.Taint{a, b}, 0, true},
		{"tolerates for a while", []corev1.Toleration{tolerates("a", 300)}, []corev1.Taint{a}, 5 * time.Minute, true},
		{"the least counts", []corev1.Toleration{tolerates("a", 300), tolerates("b", 60)}, []corev1.Taint{a, b}, time.Minute, true},
		{"what it tolerates is not there", []corev1.Toleration{tolerates("b", 60), tolerates("a")}, []corev1.Taint{a}, 0, false},
		{"the first that covers a taint counts", []corev1.Toleration{tolerates("a"), tolerates("a", 60)}, []corev1.Taint{a}, 0, false},
		{"a negative time is none", []corev1.Toleration{tolerates("a", -5)}, []corev1.Taint{a}, 0, true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
		got, limited := tolerance(pod, tt.taints)
		if got != tt.want || limited != tt.limited {
			t.Errorf("%s: %v %v, want %v %v", tt.name, got, limited, tt.want, tt.limited)
		}
	}
}

// TestTheFirstTimeStays: what a pod's eviction was put off to does not move with
// later taints.
func TestTheFirstTimeStays(t *testing.T) {
	c := &Controller{due: map[types.UID]time.Time{}}
	if got := c.goes("a", time.Unix(300, 0)).Unix(); got != 300 {
		t.Errorf("goes at %d", got)
	}
	if got := c.goes("a", time.Unix(60, 0)).Unix(); got != 300 {
		t.Errorf("goes at %d after another taint", got)
	}
	c.forget("a")
	if got := c.goes("a", time.Unix(60, 0)).Unix(); got != 60 {
		t.Errorf("goes at %d when it began anew", got)
	}
}

// TestForget: only an eviction that was to come is taken back, and once.
func TestForget(t *testing.T) {
	c := &Controller{due: map[types.UID]time.Time{}}
	if c.forget("a") {
		t.Error("a pod that nobody met was meant to go")
	}
	c.goes("a", time.Unix(1, 0))
	if !c.forget("a") || c.forget("a") {
		t.Error("an eviction is taken back never, or twice")
	}
}
