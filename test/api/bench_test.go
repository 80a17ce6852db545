package api

import (
	"fmt"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// Through HTTPS, in protobuf, with every write on disk, as a controller does.
func benchmarkClient(b *testing.B) (*apitest.Server, kubernetes.Interface) {
	b.Helper()
	s := apitest.Start(b)
	config := rest.CopyConfig(s.Config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return s, kubernetes.NewForConfigOrDie(config)
}

func BenchmarkCreate(b *testing.B) {
	_, c := benchmarkClient(b)
	var n atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			cm := configMap(fmt.Sprintf("cm-%d", n.Add(1)))
			if _, err := c.CoreV1().ConfigMaps(namespace).Create(b.Context(), cm, metav1.CreateOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
}

func BenchmarkGet(b *testing.B) {
	_, c := benchmarkClient(b)
	if _, err := c.CoreV1().ConfigMaps(namespace).Create(b.Context(), configMap("cm"), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.CoreV1().ConfigMaps(namespace).Get(b.Context(), "cm", metav1.GetOptions{ResourceVersion: "0"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
}

// BenchmarkStart makes a server ready over an empty directory.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		apitest.Start(b).Stop()
	}
}
