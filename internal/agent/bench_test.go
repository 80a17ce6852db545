package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkPodReady measures the way of a pod from its creation, bound to the
// node, to Ready as a client sees it.
func BenchmarkPodReady(b *testing.B) {
	r := newRig(b)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint("p", i)
		began := time.Now()
		r.run(name, corev1.PodSpec{Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
		r.until(name, "is ready", isReady)
		took = append(took, time.Since(began))
		b.StopTimer()
		r.delete(name)
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-p50")
	b.ReportMetric(float64(took[len(took)*9/10].Milliseconds()), "ms-p90")
}
