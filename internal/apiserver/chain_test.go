package apiserver

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"
)

func TestCurrent(t *testing.T) {
	counted := map[string]storage.Stats{
		"pods":             {ObjectCount: 3, EstimatedAverageObjectSizeBytes: 5000},
		"deployments.apps": {},
		"foos.example.com": {ObjectCount: 7, EstimatedAverageObjectSizeBytes: 100},
	}
	now := map[schema.GroupResource]int{
		{Resource: "pods"}:                       12_000,
		{Group: "apps", Resource: "deployments"}: 2,
		{Resource: "secrets"}:                    1,
	}
	stats := current(func(resource string) (storage.Stats, error) {
		if s, ok := counted[resource]; ok {
			return s, nil
		}
		return storage.Stats{}, request.ObjectCountNotFoundErr
	}, func(gr schema.GroupResource) int { return now[gr] })
	for resource, want := range map[string]storage.Stats{
		"pods":             {ObjectCount: 12_000, EstimatedAverageObjectSizeBytes: 5000},
		"deployments.apps": {ObjectCount: 2, EstimatedAverageObjectSizeBytes: likelySize},
		"secrets":          {ObjectCount: 1, EstimatedAverageObjectSizeBytes: likelySize},
		"foos.example.com": {ObjectCount: 7, EstimatedAverageObjectSizeBytes: 100},
	} {
		if got, err := stats(resource); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", resource, got, err, want)
		}
	}
	if _, err := stats("nothing"); !errors.Is(err, request.ObjectCountNotFoundErr) {
		t.Errorf("nothing: %v", err)
	}
}
