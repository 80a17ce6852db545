package scheme

import (
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/randfill"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

func allVersions(t testing.TB) (*runtime.Scheme, []resources.Resource) {
	t.Helper()
	rows, err := resources.Enabled(resources.Table(), map[string]bool{"api/all": true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(rows)
	if err != nil {
		t.Fatal(err)
	}
	return s, rows
}

// What a kind says in its settled version it still says after it was written
// in any earlier one.
func TestPreviewsLoseNothing(t *testing.T) {
	s, rows := allVersions(t)
	filler := randfill.New().RandSource(rand.NewSource(1)).NilChance(0.2).NumElements(1, 2).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) { *q = resource.MustParse("1") },
		func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"a":"b"}`) },
		func(f *metav1.FieldsV1, _ randfill.Continue) { f.Raw = []byte(`{}`) },
		func(x *metav1.Time, _ randfill.Continue) { *x = metav1.Unix(1, 0) },
		func(x *metav1.MicroTime, _ randfill.Continue) { *x = metav1.NewMicroTime(metav1.Unix(1, 0).Time) },
	)
	for _, r := range rows {
		for _, gv := range r.ServedAs {
			if resources.Stability(gv) == "ga" {
				continue
			}
			t.Run(gv.String()+"/"+r.Plural, func(t *testing.T) {
				for range 20 {
					before := r.New()
					filler.Fill(before)
					normal(before)
					older, err := s.ConvertToVersion(before.DeepCopyObject(), gv)
					if err != nil {
						t.Fatal(err)
					}
					if got := older.GetObjectKind().GroupVersionKind(); got != gv.WithKind(r.Kind) {
						t.Fatalf("converted to %v", got)
					}
					after, err := s.ConvertToVersion(older, schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal})
					if err != nil {
						t.Fatal(err)
					}
					before.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
					after.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
					if !apiequality.Semantic.DeepEqual(before, after) {
						t.Fatal(cmp.Diff(before, after))
					}
				}
			})
		}
	}
}

// normal makes a random object one that could be stored.
func normal(obj runtime.Object) {
	requests := func(c *resourcev1.DeviceClaim) {
		for i := range c.Requests {
			if r := &c.Requests[i]; r.Exactly == nil {
				r.FirstAvailable = []resourcev1.DeviceSubRequest{{Name: "a"}}
			} else {
				r.FirstAvailable, r.Exactly.DeviceClassName = nil, "c"
			}
		}
	}
	switch o := obj.(type) {
	case *resourcev1.ResourceClaim:
		requests(&o.Spec.Devices)
	case *resourcev1.ResourceClaimTemplate:
		requests(&o.Spec.Spec.Devices)
	case *resourcev1.ResourceSlice: // false is refused, and not told from nothing by older versions
		if o.Spec.AllNodes != nil && !*o.Spec.AllNodes {
			o.Spec.AllNodes = nil
		}
	}
}

func TestOlderDevices(t *testing.T) {
	s, _ := allVersions(t)
	older := &resourcev1beta1.ResourceClaim{Spec: resourcev1beta1.ResourceClaimSpec{Devices: resourcev1beta1.DeviceClaim{
		Requests: []resourcev1beta1.DeviceRequest{{Name: "r", DeviceClassName: "c", Count: 2}},
	}}}
	hub, err := s.ConvertToVersion(older, schema.GroupVersion{Group: "resource.k8s.io", Version: runtime.APIVersionInternal})
	if err != nil {
		t.Fatal(err)
	}
	want := []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "c", Count: 2}}}
	if diff := cmp.Diff(want, hub.(*resourcev1.ResourceClaim).Spec.Devices.Requests); diff != "" {
		t.Error(diff)
	}
}
