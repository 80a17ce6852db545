package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		{"a negative time is none", []corev1.Toleration{tolerates("a", -5)}, []corev1.Taint{a}, 0, true},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
		got, limited := tolerance(pod, tt.taints)
		if got != tt.want || limited != tt.limited {
			t.Errorf("%s: %v %v, want %v %v", tt.name, got, limited, tt.want, tt.limited)
		}
	}
}

func TestSince(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }
	added := at(100)
	taint := corev1.Taint{Key: "a", TimeAdded: &added}
	seen := time.Unix(150, 0)
	pod := func(created int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(created)}}
	}
	for _, tt := range []struct {
		name    string
		created int64
		taint   corev1.Taint
		want    int64
	}{
		{"an older pod", 50, taint, 100},
		{"a younger pod", 120, taint, 120},
		{"a taint without time", 50, corev1.Taint{Key: "a"}, 150},
	} {
		if got := since(pod(tt.created), []corev1.Taint{tt.taint}, seen).Unix(); got != tt.want {
			t.Errorf("%s: since %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestForget: only an eviction that was to come is taken back, and once.
func TestForget(t *testing.T) {
	c := &Controller{seen: map[types.UID]time.Time{}}
	if c.forget("a") {
		t.Error("a pod that nobody met was meant to go")
	}
	c.firstSeen("a", time.Unix(1, 0))
	if !c.forget("a") || c.forget("a") {
		t.Error("an eviction is taken back never, or twice")
	}
}
