package feed

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/randfill"
)

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: string([]byte("default")), Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0)),
			ManagedFields:     []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
		},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{
				{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
				{Name: name, Env: []corev1.EnvVar{{Name: "A", Value: "b"}}},
			},
		},
	}
}

// The states of one object share what did not change.
func TestShareSavesMemory(t *testing.T) {
	before, after := pod("a", ""), pod("a", "n1")
	share(after, before)
	if &after.Spec.Containers[0] != &before.Spec.Containers[0] {
		t.Error("containers are kept twice")
	}
	if reflect.ValueOf(after.Labels).Pointer() != reflect.ValueOf(before.Labels).Pointer() {
		t.Error("labels are kept twice")
	}
	if unsafe.StringData(after.Namespace) != unsafe.StringData(before.Namespace) {
		t.Error("the namespace is kept twice")
	}
	if after.Spec.NodeName != "n1" || before.Spec.NodeName != "" {
		t.Errorf("nodes %q and %q", after.Spec.NodeName, before.Spec.NodeName)
	}
	sibling := pod("b", "n1")
	share(sibling, before)
	if &sibling.Spec.Containers[1].Env[0] != &before.Spec.Containers[1].Env[0] {
		t.Error("the environment of siblings is kept twice")
	}
	if got := sibling.Spec.Containers[1].Name; got != "b" {
		t.Errorf("the sibling's container is called %q", got)
	}
}

func TestShareCustomResources(t *testing.T) {
	custom := func(replicas int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": "Web",
			"spec": map[string]any{"replicas": replicas, "template": map[string]any{"image": "i", "args": []any{"a", int64(1)}}},
		}}
	}
	before, after, want := custom(1), custom(2), custom(2)
	share(after, before)
	if !reflect.DeepEqual(after, want) || !reflect.DeepEqual(before, custom(1)) {
		t.Errorf("changed to %v, before %v", after, before)
	}
	template := func(u *unstructured.Unstructured) uintptr {
		return reflect.ValueOf(u.Object["spec"].(map[string]any)["template"]).Pointer()
	}
	if template(after) != template(before) {
		t.Error("the template is kept twice")
	}
	share(after, &corev1.Pod{}) // of another type: nothing to share
}

// Sharing never changes a value.
func TestShareKeepsValues(t *testing.T) {
	fill := randfill.NewWithSeed(1).NilChance(0.3).NumElements(0, 3).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(4), resource.DecimalSI)
		},
		func(s *string, c randfill.Continue) { *s = string(rune('a' + c.Intn(3))) },
		func(m *metav1.Time, c randfill.Continue) { m.Time = time.Unix(c.Int63n(3), 0) },
		func(f *metav1.FieldsV1, c randfill.Continue) { f.SetRawString(string(rune('a' + c.Intn(3)))) },
	)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		var a, b corev1.Pod
		fill.Fill(&a)
		fill.Fill(&b)
		if rnd.IntN(2) == 0 { // the next state of a
			spec := b.Spec
			a.DeepCopyInto(&b)
			b.Spec.Tolerations, b.Spec.NodeName = spec.Tolerations, spec.NodeName
		}
		wantA, wantB := a.DeepCopy(), b.DeepCopy()
		share(&b, &a)
		if !reflect.DeepEqual(&a, wantA) || !reflect.DeepEqual(&b, wantB) {
			t.Fatalf("round %d: sharing changed a value", i)
		}
	}
}

func BenchmarkShare(b *testing.B) {
	before := pod("a", "")
	for b.Loop() {
		b.StopTimer()
		after := pod("a", "n1")
		b.StartTimer()
		share(after, before)
	}
}
