package rows

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// crowded is a store in which so many of the next names are taken.
type crowded struct {
	storage.Interface
	taken int
	tried []string
}

func (c *crowded) Create(_ context.Context, key string, obj, out runtime.Object, _ uint64) error {
	c.tried = append(c.tried, key)
	if c.taken--; c.taken >= 0 {
		return storage.NewKeyExistsError(key, 1)
	}
	*out.(*corev1.Pod) = *obj.(*corev1.Pod)
	return nil
}

func (c *crowded) Get(_ context.Context, key string, _ storage.GetOptions, _ runtime.Object) error {
	return storage.NewKeyNotFoundError(key, 0)
}

// plain are the rules of a kind without any. Its names are numbers.
type plain struct {
	runtime.ObjectTyper
	names *int
}

func (plain) NamespaceScoped() bool                                     { return true }
func (plain) PrepareForCreate(context.Context, runtime.Object)          {}
func (plain) Validate(context.Context, runtime.Object) field.ErrorList  { return nil }
func (plain) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (plain) Canonicalize(runtime.Object)                               {}
func (p plain) GenerateName(base string) string {
	*p.names++
	return fmt.Sprintf("%s%d", base, *p.names)
}

func TestCreateUnderAGeneratedName(t *testing.T) {
	for name, tc := range map[string]struct {
		pod    corev1.Pod
		again  bool
		taken  int
		want   string // "" when it cannot be created
		tried  int
		copied bool // what was given has no name in the end
	}{
		"the first is free":                    {corev1.Pod{}, true, 0, "p-1", 1, false},
		"it is taken":                          {corev1.Pod{}, true, 1, "p-2", 2, true},
		"all are":                              {corev1.Pod{}, true, 100, "", 9, true},
		"a kind that cannot be prepared twice": {corev1.Pod{}, false, 1, "p-2", 2, true},
		"it has a name":                        {corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "own"}}, true, 1, "", 1, false},
	} {
		in := &crowded{taken: tc.taken}
		s := &Store{
			row: resources.Resource{Strategy: resources.Strategy{Again: func(runtime.Object) bool { return tc.again }}},
			Store: &genericregistry.Store{
				NewFunc:                  func() runtime.Object { return &corev1.Pod{} },
				KeyFunc:                  func(_ context.Context, name string) (string, error) { return name, nil },
				ObjectNameFunc:           func(obj runtime.Object) (string, error) { return obj.(*corev1.Pod).Name, nil },
				DefaultQualifiedResource: schema.GroupResource{Resource: "pods"},
				CreateStrategy:           plain{scheme.Scheme, new(int)},
				Storage:                  genericregistry.DryRunnableStorage{Storage: in},
			},
		}
		pod := tc.pod.DeepCopy()
		pod.GenerateName, pod.Namespace = "p-", "ns"
		out, err := s.Create(request.WithNamespace(t.Context(), "ns"), pod, nil, &metav1.CreateOptions{})
		switch {
		case tc.want == "" && !apierrors.IsAlreadyExists(err):
			t.Errorf("%s: error %v", name, err)
		case tc.want != "" && (err != nil || out.(*corev1.Pod).Name != tc.want):
			t.Errorf("%s: created %v, error %v", name, out, err)
		}
		if len(in.tried) != tc.tried {
			t.Errorf("%s: tried %q, want %d names", name, in.tried, tc.tried)
		}
		if (pod.Name == "") != tc.copied {
			t.Errorf("%s: what was given is named %q", name, pod.Name)
		}
	}
}
