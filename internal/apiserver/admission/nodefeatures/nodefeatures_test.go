package nodefeatures

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// nodes is a storage of nodes by name.
type nodes map[string]*corev1.Node

func (n nodes) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if node, ok := n[name]; ok {
		return node, nil
	}
	return nil, apierrors.NewNotFound(lookup.Core("nodes"), name)
}

type storage struct {
	lookup.Storage
	nodes
}

func (s storage) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return s.nodes.Get(ctx, name, o)
}

func TestResizeOfWholePods(t *testing.T) {
	pod := func(node, cpu string, generation int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Generation: generation}, Spec: corev1.PodSpec{NodeName: node,
			Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}
	}
	able := &corev1.Node{Status: corev1.NodeStatus{DeclaredFeatures: []string{"InPlacePodLevelResourcesVerticalScaling"}}}
	p := New(func(schema.GroupResource) (lookup.Storage, bool) {
		return storage{nodes: nodes{"able": able, "plain": {ObjectMeta: metav1.ObjectMeta{Name: "plain"}}}}, true
	})
	for name, tc := range map[string]struct {
		old, now *corev1.Pod
		sub      string
		want     string
	}{
		"node that can":       {pod("able", "1", 1), pod("able", "2", 2), "resize", ""},
		"node that does not":  {pod("plain", "1", 1), pod("plain", "2", 2), "resize", `pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "plain"`},
		"no such node":        {pod("none", "1", 1), pod("none", "2", 2), "resize", `node "none" not found`},
		"nothing new":         {pod("plain", "1", 1), pod("plain", "1", 1), "resize", ""},
		"other change":        {pod("plain", "1", 1), pod("plain", "1", 2), "", ""},
		"pod without a node":  {pod("", "1", 1), pod("", "2", 2), "resize", ""},
		"another subresource": {pod("plain", "1", 1), pod("plain", "2", 2), "status", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := admission.NewAttributesRecord(tc.now, tc.old, corev1.SchemeGroupVersion.WithKind("Pod"), "default", "x",
				corev1.SchemeGroupVersion.WithResource("pods"), tc.sub, admission.Update, nil, false, nil)
			err := p.Validate(t.Context(), a, nil)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
