package lookup

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// listed is a storage that can only be listed; told is one that shows its objects.
type listed struct {
	Storage
	ranges []corev1.LimitRange
}

func (l listed) List(context.Context, *metainternal.ListOptions) (runtime.Object, error) {
	return &corev1.LimitRangeList{Items: l.ranges}, nil
}

type told struct{ listed }

func (t told) List(context.Context, *metainternal.ListOptions) (runtime.Object, error) {
	panic("listed")
}

func (t told) Each(f func(runtime.Object)) {
	for i := range t.ranges {
		f(&t.ranges[i])
	}
}

func (t told) Peek(namespace, name string) runtime.Object {
	for i := range t.ranges {
		if r := &t.ranges[i]; r.Namespace == namespace && r.Name == name {
			return r
		}
	}
	return nil
}

// Get finds in the store what Peek does not know yet.
func (t told) Get(_ context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	if name != "late" || o.ResourceVersion == "0" {
		return nil, apierrors.NewNotFound(Core("limitranges"), name)
	}
	late := limitRange("a", name)
	return &late, nil
}

// TestGet: what is known is shown as it is, what is not is asked of the store.
func TestGet(t *testing.T) {
	known := told{listed{ranges: []corev1.LimitRange{limitRange("a", "1")}}}
	source := func(schema.GroupResource) (Storage, bool) { return known, true }
	for name, found := range map[string]bool{"1": true, "late": true, "none": false, "..": false} {
		got, err := Get[*corev1.LimitRange](t.Context(), source, Core("limitranges"), "a", name)
		if (err == nil) != found || !found && !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
		if shared := got == &known.ranges[0]; shared != (name == "1") {
			t.Errorf("%s: shared is %t", name, shared)
		}
	}
}

func limitRange(namespace, name string) corev1.LimitRange {
	return corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func TestListFew(t *testing.T) {
	ranges := []corev1.LimitRange{limitRange("a", "1"), limitRange("b", "2"), limitRange("a", "3")}
	for name, test := range map[string]struct {
		storage   Storage
		namespace string
		want      []string
	}{
		"of a namespace":         {told{listed{ranges: ranges}}, "a", []string{"1", "3"}},
		"of none":                {told{listed{ranges: ranges}}, "c", nil},
		"of all":                 {told{listed{ranges: ranges}}, "", []string{"1", "2", "3"}},
		"of what must be listed": {listed{ranges: ranges[:1]}, "a", []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := func(schema.GroupResource) (Storage, bool) { return test.storage, true }
			found, err := ListFew[*corev1.LimitRange](t.Context(), source, Core("limitranges"), test.namespace)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range found {
				got = append(got, r.Name)
			}
			if slices.Sort(got); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
