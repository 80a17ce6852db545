package storagemigration

import (
	"testing"
	"time"

	svmv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func migration(name, resource string, age time.Duration, conditions ...metav1.Condition) svmv1.StorageVersionMigration {
	m := svmv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age))}}
	m.Spec.Resource.Resource = resource
	m.Status.Conditions = conditions
	return m
}

func TestNext(t *testing.T) {
	marked := migration("a", "secrets", 0, running(""))
	marked.Status.ResourceVersion = "7"
	for _, tt := range []struct {
		name string
		m    svmv1.StorageVersionMigration
		rest []svmv1.StorageVersionMigration
		want step
	}{
		{"alone", migration("a", "secrets", 0), nil, begin},
		{"after an older one", migration("a", "secrets", 0), []svmv1.StorageVersionMigration{migration("b", "secrets", time.Second)}, wait},
		{"of the same age, by name", migration("a", "secrets", 0), []svmv1.StorageVersionMigration{migration("b", "secrets", 0)}, begin},
		{"another runs", migration("a", "secrets", time.Second), []svmv1.StorageVersionMigration{migration("b", "secrets", 0, running(""))}, wait},
		{"another has ended", migration("a", "secrets", 0), []svmv1.StorageVersionMigration{migration("b", "secrets", time.Second, succeeded())}, begin},
		{"another resource runs", migration("a", "secrets", 0), []svmv1.StorageVersionMigration{migration("b", "pods", time.Second, running(""))}, begin},
		{"runs", migration("a", "secrets", 0, running("")), nil, mark},
		{"runs from a revision", marked, nil, migrate},
		{"has ended just now", migration("a", "secrets", 0, running(""), failed("")), nil, finish},
		{"has ended", migration("a", "secrets", 0, completed(1), succeeded()), nil, wait},
	} {
		if got := next(&tt.m, append(tt.rest, tt.m)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		seen                    int64
		success                 bool
		reason, message, stored string
	}{
		{"all well", 3, true, "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated", "v2"},
		{"changed meanwhile", 2, true, "MigrationSucceeded",
			"The migration has succeeded but the stored versions have not been updated due to a generation mismatch", ""},
		{"failed after a change", 2, false, "MigrationFailed", "The migration has failed", ""},
	} {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1"}, {Name: "v2", Storage: true}}
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.StorageMigrating, ObservedGeneration: tt.seen}}
		reason, message, stored := verdict(crd, tt.success)
		if reason != tt.reason || message != tt.message || stored != tt.stored {
			t.Errorf("%s: %s, %q, %q", tt.name, reason, message, stored)
		}
	}
}

func TestWordsOfProgress(t *testing.T) {
	for want, p := range map[string]progress{
		"The migration is running":                               {},
		"The migration is running, 2/5 objects not yet migrated": {left: 2, all: 5},
		"The migration is running, 5 objects verified migrated":  {all: 5},
	} {
		if got := p.words(nil); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
