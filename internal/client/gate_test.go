package client

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// meddler is an admission plugin that changes pods.
type meddler func(*corev1.Pod)

func (meddler) Handles(admission.Operation) bool { return true }

func (f meddler) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	f(a.GetObject().(*corev1.Pod))
	return nil
}

// TestGate: managed fields that admission leaves invalid are as they were before
// it, all else that it changed stands.
func TestGate(t *testing.T) {
	owned := func(raw string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(raw),
		}
	}
	valid := `{"f:metadata":{"f:labels":{"f:a":{}}}}`
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		want   string // of the first entry; "" is that there is none
	}{
		{"untouched", func(*corev1.Pod) {}, valid},
		{"another owner", func(p *corev1.Pod) {
			p.ManagedFields = []metav1.ManagedFieldsEntry{owned(`{"f:spec":{}}`)}
		}, `{"f:spec":{}}`},
		{"dropped", func(p *corev1.Pod) { p.ManagedFields = nil }, ""},
		{"unreadable", func(p *corev1.Pod) {
			p.ManagedFields = []metav1.ManagedFieldsEntry{owned(`{`)}
		}, valid},
		{"unreadable in place", func(p *corev1.Pod) { p.ManagedFields[0].FieldsType = "other" }, valid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", ManagedFields: []metav1.ManagedFieldsEntry{owned(valid)}}}
			g := gate{admission.WithAudit(meddler(func(p *corev1.Pod) {
				tt.change(p)
				p.Labels = map[string]string{"seen": "yes"}
			})).(plugins)}
			a := admission.NewAttributesRecord(pod, nil, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "default", "p",
				schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "", admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{})
			if err := g.Admit(t.Context(), a, nil); err != nil {
				t.Fatal(err)
			}
			if pod.Labels["seen"] != "yes" {
				t.Error("the change of a label is lost")
			}
			got := ""
			if len(pod.ManagedFields) > 0 {
				got = pod.ManagedFields[0].FieldsV1.GetRawString()
			}
			if got != tt.want {
				t.Errorf("managed fields are %s, want %s", got, tt.want)
			}
			if len(pod.ManagedFields) > 0 && pod.ManagedFields[0].FieldsType != "FieldsV1" {
				t.Errorf("its type is %q", pod.ManagedFields[0].FieldsType)
			}
		})
	}
}
