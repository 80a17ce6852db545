package openapi_test

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/sinawi/sinawi/internal/apiserver/openapi"
)

// twice has a port two times, which applied objects may not have but others may.
func twice() *corev1.Service {
	port := corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{port, port}},
	}
}

func TestDuplicates(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []typed.ValidationOptions
		refused bool
	}{
		{"applied", nil, true},
		{"written otherwise", []typed.ValidationOptions{typed.AllowDuplicates}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := openapi.MergeTypes().ObjectToTyped(twice(), tt.options...); (err != nil) != tt.refused {
				t.Errorf("converted with %v, want refused: %t", err, tt.refused)
			}
		})
	}
}

// TestOwnersOfAWrite looks at whom the fields of written objects belong to, which is
// found out without checking the objects.
func TestOwnersOfAWrite(t *testing.T) {
	holder, seconds := "n", int32(40)
	for _, tt := range []struct {
		name string
		kind schema.GroupVersionKind
		obj  runtime.Object
		want string
	}{
		{
			"a lease", coordinationv1.SchemeGroupVersion.WithKind("Lease"),
			&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds}},
			`{"f:spec":{"f:holderIdentity":{},"f:leaseDurationSeconds":{}}}`,
		},
		{
			"one port twice", corev1.SchemeGroupVersion.WithKind("Service"), twice(),
			`{"f:spec":{"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{}}}}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := managedfields.NewDefaultFieldManager(openapi.MergeTypes(), runtime.UnsafeObjectConvertor(scheme.Scheme),
				scheme.Scheme, scheme.Scheme, tt.kind, tt.kind.GroupVersion(), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			empty, err := scheme.Scheme.New(tt.kind)
			if err != nil {
				t.Fatal(err)
			}
			written, err := m.Update(empty, tt.obj, "writer")
			if err != nil {
				t.Fatal(err)
			}
			owners := written.(metav1.Object).GetManagedFields()
			if len(owners) != 1 || owners[0].Manager != "writer" || owners[0].FieldsV1.String() != tt.want {
				t.Errorf("owners are %v, want writer of %s", owners, tt.want)
			}
		})
	}
}
