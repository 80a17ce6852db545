package resources_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"runtime/debug"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/scheme"
)

func filler(seed int64) *randfill.Filler {
	return randfill.New().RandSource(rand.NewSource(seed)).NilChance(0.3).NumElements(0, 3).MaxDepth(14).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(5000)-100, resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			switch c.Intn(4) {
			case 0:
				*v = intstr.FromString("25%")
			case 1:
				*v = intstr.FromString(c.String(5))
			case 2:
				*v = intstr.IntOrString{Type: intstr.Type(c.Intn(5))}
			default:
				*v = intstr.FromInt32(int32(c.Intn(70000)) - 100)
			}
		},
		func(r *runtime.RawExtension, _ randfill.Continue) { *r = runtime.RawExtension{} },
		func(f *metav1.FieldsV1, _ randfill.Continue) { *f = metav1.FieldsV1{} },
		// Words of the API among noise, so that rules behind a choice are met.
		func(s *string, c randfill.Continue) {
			words := []string{"", "a", "web", "None", "10.0.0.1", "fd00::1", "10.0.0.0/8", "kubernetes.io/x", "..", "/a", "* * * * *", "Always", "Never", "RollingUpdate", "1-3,5"}
			if c.Bool() {
				*s = words[c.Intn(len(words))]
				return
			}
			*s = c.String(20)
		},
	)
}

// call reports a panic of f as a failure.
func call(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s panics: %v\n%s", what, r, debug.Stack())
		}
	}()
	f()
}

// write does to obj what the machinery does around one write.
func write(t *testing.T, what string, s *resources.Strategy, obj, old runtime.Object) {
	ctx := context.Background()
	call(t, what, func() {
		if s.PrepareForUpdate != nil {
			s.PrepareForUpdate(ctx, obj, old)
		}
		if s.ValidateUpdate != nil {
			_ = s.ValidateUpdate(ctx, obj, old).ToAggregate()
		}
	})
}

func tryRow(t *testing.T, s *runtime.Scheme, row resources.Resource, seed int64) {
	obj, old := row.New(), row.New()
	f := filler(seed)
	f.Fill(obj)
	f.Fill(old)
	s.Default(obj)
	s.Default(old)
	what := fmt.Sprintf("%s, seed %d", row.Plural, seed)
	ctx := context.Background()
	created := obj.DeepCopyObject()
	call(t, what, func() {
		if row.Strategy.PrepareForCreate != nil {
			row.Strategy.PrepareForCreate(ctx, created)
		}
		if row.Strategy.Validate != nil {
			_ = row.Strategy.Validate(ctx, created).ToAggregate()
		}
		if row.Strategy.Canonicalize != nil {
			row.Strategy.Canonicalize(created)
		}
		if row.Cells != nil {
			if got := len(row.Cells(obj)); got != len(row.Columns) && row.Kind != "IPAddress" {
				t.Errorf("%s: %d cells for %d columns", what, got, len(row.Columns))
			}
		}
		if row.SelectableFields != nil {
			row.SelectableFields(obj)
		}
	})
	write(t, what, &row.Strategy, obj.DeepCopyObject(), old.DeepCopyObject())
	write(t, what, &row.Strategy, obj.DeepCopyObject(), obj.DeepCopyObject())
	if row.Status != nil {
		write(t, what, row.Status, obj.DeepCopyObject(), old.DeepCopyObject())
	}
	if row.Plural == "pods" {
		ephemeral, resize := resources.PodEphemeralContainers(), resources.PodResize()
		write(t, what, &ephemeral, obj.DeepCopyObject(), old.DeepCopyObject())
		write(t, what, &resize, obj.DeepCopyObject(), old.DeepCopyObject())
	}
}

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s, err := scheme.New(resources.Table())
	if err != nil {
		t.Fatal(err)
	}
	if err := defaults.Register(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever a client sends, the rules of a row answer and never panic.
func TestRulesNeverPanic(t *testing.T) {
	s := newScheme(t)
	for _, row := range resources.Table() {
		t.Run(row.GroupVersion.Group+"/"+row.Plural, func(t *testing.T) {
			for seed := range int64(30) {
				tryRow(t, s, row, seed)
			}
		})
	}
}

func FuzzRules(f *testing.F) {
	s := newScheme(f)
	rows := resources.Table()
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 9 {
			return
		}
		tryRow(t, s, rows[int(data[8])%len(rows)], int64(binary.BigEndian.Uint64(data)))
	})
}

// Every kind has rules for what users write and for what is reported of it.
func TestEveryKindIsChecked(t *testing.T) {
	for _, row := range resources.Table() {
		if row.Strategy.Validate == nil || row.Strategy.ValidateUpdate == nil {
			t.Errorf("%s: no validators", row.Plural)
		}
		if row.Status != nil && row.Status.ValidateUpdate == nil {
			t.Errorf("%s/status: no validator", row.Plural)
		}
	}
}
