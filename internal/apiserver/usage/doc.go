// Package usage serves metrics.k8s.io: how much processor time and memory nodes
// and pods use now.
//
// It measures only while somebody asks. A question reads /metrics/resource of
// the nodes that it concerns, over their kubelet API, unless a sample younger
// than a second is there; samples live for twenty seconds, so that whoever asks
// again and again gets the rate over the last seconds. The first question after
// a pause takes two samples, a second apart. It keeps no goroutine and asks
// nobody between questions.
package usage

import (
	"context"
	"io"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics/install"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Kubelets reads what the kubelet API of a node serves under a path.
type Kubelets interface {
	Read(ctx context.Context, node, path string) (io.ReadCloser, error)
}

// Extension adds the group. kubelets is asked for when the rows are there.
func Extension(kubelets func(*plug.Host) Kubelets) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		types := runtime.NewScheme()
		install.Install(types)
		metav1.AddToGroupVersion(types, schema.GroupVersion{Version: "v1"})
		c := newCollector(kubelets(h), h.Log)
		return plug.Additions{APIGroups: []plug.Group{{
			GroupVersion: v1beta1.SchemeGroupVersion,
			Scheme:       types,
			Codecs:       serializer.NewCodecFactory(types),
			Storage: map[string]rest.Storage{
				"nodes": &nodeStorage{collector: c, nodes: h.Store("", "nodes")},
				"pods":  &podStorage{collector: c, pods: h.Store("", "pods")},
			},
		}}}, nil
	}
}

func processor(cores float64) resource.Quantity {
	return *resource.NewScaledQuantity(int64(cores*1e9), resource.Nano)
}

func memory(bytes uint64) resource.Quantity {
	return *resource.NewQuantity(int64(bytes), resource.BinarySI)
}
