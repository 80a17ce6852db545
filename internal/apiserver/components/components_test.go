package components

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

func served(t *testing.T, code int, body string) func(context.Context) corev1.ComponentCondition {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return endpoint(s.URL + "/healthz")
}

func failing(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func TestCells(t *testing.T) {
	gone := httptest.NewTLSServer(nil)
	gone.Close()
	s := newStorage([]check{
		Options{}.part(Scheduler, schedulerPort),
		{"good", served(t, http.StatusOK, "ok")},
		{"bad", served(t, http.StatusInternalServerError, "broken")},
		{"store", Options{Store: failing(nil)}.store},
		{"broken store", Options{Store: failing(errors.New("no leader"))}.store},
	})
	list, err := s.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := s.ConvertToTable(t.Context(), list, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got [][]any
	for _, row := range table.Rows {
		got = append(got, row.Cells)
	}
	want := [][]any{
		{"scheduler", "Healthy", "ok", ""},
		{"good", "Healthy", "ok", ""},
		{"bad", "Unhealthy", "HTTP probe failed with statuscode: 500", ""},
		{"store", "Healthy", "ok", ""},
		{"broken store", "Unhealthy", "", "no leader"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if c := endpoint(gone.URL)(t.Context()); c.Status != corev1.ConditionFalse || c.Message == "" || c.Error != "" {
		t.Errorf("a program that does not answer: %+v", c)
	}
}

func TestSelected(t *testing.T) {
	s := newStorage([]check{Options{}.part(Scheduler, 1), Options{}.part(Controllers, 1)})
	for name, test := range map[string]struct {
		options internalversion.ListOptions
		want    int
	}{
		"all":       {internalversion.ListOptions{}, 2},
		"by name":   {internalversion.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", Scheduler)}, 1},
		"by labels": {internalversion.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{"a": "b"})}, 0},
	} {
		list, err := s.List(t.Context(), &test.options)
		if err != nil || len(list.(*corev1.ComponentStatusList).Items) != test.want {
			t.Errorf("%s: %v, %v, want %d", name, list, err, test.want)
		}
	}
	if _, err := s.Get(t.Context(), "kubelet", nil); err == nil || !apierrors.IsNotFound(err) || err.Error() != `componentstatus "kubelet" not found` {
		t.Errorf("what there is not: %v", err)
	}
	if got, err := s.Get(t.Context(), Scheduler, nil); err != nil || got.(*corev1.ComponentStatus).Name != Scheduler {
		t.Errorf("one: %v, %v", got, err)
	}
}
