package limits

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

func quantities(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func podWith(containers ...corev1.ResourceRequirements) *corev1.Pod {
	p := &corev1.Pod{}
	for _, r := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "c", Resources: r})
	}
	return p
}

// slow is the storage of limit ranges whose watch cache has seen none yet.
type slow struct {
	lookup.Storage
	stored []corev1.LimitRange
	asked  int // of the store
}

func (s *slow) List(_ context.Context, o *metainternal.ListOptions) (runtime.Object, error) {
	if o.ResourceVersion == "0" {
		return &corev1.LimitRangeList{}, nil
	}
	s.asked++
	return &corev1.LimitRangeList{Items: s.stored}, nil
}

func TestLimitsApplyAtOnce(t *testing.T) {
	store := &slow{}
	p := New(func(schema.GroupResource) (lookup.Storage, bool) { return store, true })
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	create := func(namespace string) corev1.ResourceList {
		pod := podWith(corev1.ResourceRequirements{})
		a := admission.NewAttributesRecord(pod, nil, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, namespace, "p",
			schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "", admission.Create, nil, false, nil)
		if err := p.Admit(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
		return pod.Spec.Containers[0].Resources.Requests
	}
	if got := create("a"); len(got) != 0 {
		t.Errorf("without limit ranges a pod asks for %v", got)
	}
	create("a")
	if store.asked != 1 {
		t.Errorf("the store was asked %d times, want once", store.asked)
	}
	store.stored = []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: quantities("cpu", "1"),
	}}}}}
	if got := create("b"); got.Cpu().Value() != 1 {
		t.Errorf("in a namespace never looked at a pod asks for %v", got)
	}
	now = now.Add(believed)
	if got := create("a"); got.Cpu().Value() != 1 {
		t.Errorf("long after the last look a pod asks for %v", got)
	}
}

func TestCheck(t *testing.T) {
	asks := func(request, limit string) corev1.ResourceRequirements {
		r := corev1.ResourceRequirements{}
		if request != "" {
			r.Requests = quantities("memory", request)
		}
		if limit != "" {
			r.Limits = quantities("memory", limit)
		}
		return r
	}
	claim := &corev1.PersistentVolumeClaim{}
	claim.Spec.Resources.Requests = quantities("storage", "5Gi")
	for name, c := range map[string]struct {
		obj  runtime.Object
		item corev1.LimitRangeItem
		want string
	}{
		"within":            {podWith(asks("1Gi", "2Gi")), corev1.LimitRangeItem{Type: "Container", Min: quantities("memory", "1Gi"), Max: quantities("memory", "2Gi")}, ""},
		"no request":        {podWith(asks("", "2Gi")), corev1.LimitRangeItem{Type: "Container", Min: quantities("memory", "1Gi")}, "minimum memory usage per Container is 1Gi.  No request is specified"},
		"no limit":          {podWith(asks("1Gi", "")), corev1.LimitRangeItem{Type: "Container", Max: quantities("memory", "1Gi")}, "maximum memory usage per Container is 1Gi.  No limit is specified"},
		"limit too low":     {podWith(asks("1Gi", "1Mi")), corev1.LimitRangeItem{Type: "Container", Min: quantities("memory", "1Gi")}, "but limit is 1Mi"},
		"request too high":  {podWith(asks("3Gi", "1Gi")), corev1.LimitRangeItem{Type: "Container", Max: quantities("memory", "2Gi")}, "but request is 3Gi"},
		"sum of containers": {podWith(asks("1Gi", "1Gi"), asks("1Gi", "1536Mi")), corev1.LimitRangeItem{Type: "Pod", Max: quantities("memory", "2Gi")}, "maximum memory usage per Pod is 2Gi, but limit is 2560Mi"},
		"fits in sum":       {podWith(asks("1Gi", "1Gi"), asks("1Gi", "1Gi")), corev1.LimitRangeItem{Type: "Pod", Max: quantities("memory", "2Gi")}, ""},
		"ratio":             {podWith(asks("1Gi", "3Gi")), corev1.LimitRangeItem{Type: "Container", MaxLimitRequestRatio: quantities("memory", "2500m")}, "provided ratio is 3.000000"},
		"ratio kept":        {podWith(asks("1Gi", "2Gi")), corev1.LimitRangeItem{Type: "Container", MaxLimitRequestRatio: quantities("memory", "2")}, ""},
		"ratio of nothing":  {podWith(asks("", "2Gi")), corev1.LimitRangeItem{Type: "Container", MaxLimitRequestRatio: quantities("memory", "2")}, "no request is specified or request is 0"},
		"overhead": {func() *corev1.Pod {
			p := podWith(asks("1Gi", "1Gi"))
			p.Spec.Overhead = quantities("memory", "2Gi")
			return p
		}(), corev1.LimitRangeItem{Type: "Pod", Max: quantities("memory", "2Gi")}, ""},
		"claim":            {claim, corev1.LimitRangeItem{Type: "PersistentVolumeClaim", Max: quantities("storage", "4Gi")}, "maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi"},
		"small claim":      {claim, corev1.LimitRangeItem{Type: "PersistentVolumeClaim", Min: quantities("storage", "6Gi")}, "minimum storage usage per PersistentVolumeClaim is 6Gi, but request is 5Gi"},
		"claim fits":       {claim, corev1.LimitRangeItem{Type: "PersistentVolumeClaim", Min: quantities("storage", "1Gi"), Max: quantities("storage", "9Gi")}, ""},
		"not its business": {claim, corev1.LimitRangeItem{Type: "Container", Max: quantities("storage", "1")}, ""},
		"huge":             {podWith(asks("5000Pi", "5000Pi")), corev1.LimitRangeItem{Type: "Container", Max: quantities("memory", "4000Pi")}, "but limit is 5000Pi"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Check(c.obj, &corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{c.item}}})
			if c.want == "" && len(errs) > 0 {
				t.Errorf("refused: %v", errs)
			}
			if c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want)) {
				t.Errorf("got %v, want %q", errs, c.want)
			}
		})
	}
}
