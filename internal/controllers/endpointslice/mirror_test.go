//lint:file-ignore SA1019 mirroring the older Endpoints is what this file is for

package endpointslice

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMirror(t *testing.T) {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Name: "e", UID: "e", Labels: map[string]string{"a": "b"},
		Annotations: map[string]string{"q": "r", corev1.LastAppliedConfigAnnotation: "{}", corev1.EndpointsLastChangeTriggerTime: "then"},
	}}
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Port: 80}}}
	for i := range mirrorFull + 100 {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("9.9.%d.%d", i/250, i%250+1)})
	}
	e.Subsets = []corev1.EndpointSubset{subset}
	p := decideMirror(e, nil, true)
	if len(p.create) != 1 || len(p.create[0].Endpoints) != mirrorFull {
		t.Fatalf("%d slices", len(p.create))
	}
	if d := cmp.Diff(map[string]string{"q": "r"}, p.create[0].Annotations); d != "" {
		t.Error(d)
	}
	want := "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 100 addresses were skipped"
	if len(p.events) != 1 || p.events[0].reason != "TooManyAddressesToMirror" || p.events[0].message != want {
		t.Errorf("events %+v", p.events)
	}
	again := decideMirror(e, p.create, true)
	if len(again.create)+len(again.update)+len(again.remove) != 0 {
		t.Errorf("not settled: %d, %d, %d", len(again.create), len(again.update), len(again.remove))
	}
	e.Annotations["q"] = "s"
	if again := decideMirror(e, p.create, true); len(again.update) != 1 || again.update[0].Annotations["q"] != "s" {
		t.Error("a changed annotation is not shown")
	}
}
