package storagemigration

import (
	"cmp"
	"fmt"

	svmv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// step is what is next for a migration.
type step string

const (
	wait    step = "wait"    // for another, or for nothing any more
	begin   step = "begin"   // it is its turn
	mark    step = "mark"    // note the revision
	migrate step = "migrate" // touch the objects
	finish  step = "finish"  // it has ended: others may begin
)

// next says what is next for a migration, given all that there are.
func next(m *svmv1.StorageVersionMigration, all []svmv1.StorageVersionMigration) step {
	switch {
	case is(m, svmv1.MigrationRunning) && ended(m):
		return finish
	case ended(m):
		return wait
	case is(m, svmv1.MigrationRunning) && m.Status.ResourceVersion == "":
		return mark
	case is(m, svmv1.MigrationRunning):
		return migrate
	}
	for i := range all {
		other := &all[i]
		if other.Name == m.Name || other.Spec.Resource != m.Spec.Resource || ended(other) {
			continue
		}
		if is(other, svmv1.MigrationRunning) || older(other, m) {
			return wait
		}
	}
	return begin
}

func is(m *svmv1.StorageVersionMigration, c svmv1.MigrationConditionType) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(c))
}

func ended(m *svmv1.StorageVersionMigration) bool {
	return is(m, svmv1.MigrationSucceeded) || is(m, svmv1.MigrationFailed)
}

func older(a, b *svmv1.StorageVersionMigration) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}

// progress counts the objects of a migration.
type progress struct{ left, all int }

func (p progress) words(trouble error) string {
	out := "The migration is running"
	switch {
	case p.all == 0:
	case p.left > 0:
		out += fmt.Sprintf(", %d/%d objects not yet migrated", p.left, p.all)
	default:
		out += fmt.Sprintf(", %d objects verified migrated", p.all)
	}
	if trouble != nil {
		out += "; transient error: " + trouble.Error()
	}
	return out
}

func running(message string) metav1.Condition {
	return metav1.Condition{Type: string(svmv1.MigrationRunning), Status: metav1.ConditionTrue, Reason: "MigrationRunning", Message: message}
}

func completed(generation int64) metav1.Condition {
	return metav1.Condition{
		Type: string(svmv1.MigrationRunning), Status: metav1.ConditionFalse, Reason: "MigrationCompleted", Message: "Migration completed",
		ObservedGeneration: generation,
	}
}

func succeeded() metav1.Condition {
	return metav1.Condition{Type: string(svmv1.MigrationSucceeded), Status: metav1.ConditionTrue, Reason: "StorageVersionMigrationSucceeded", Message: "Migration completed"}
}

func failed(message string) metav1.Condition {
	return metav1.Condition{Type: string(svmv1.MigrationFailed), Status: metav1.ConditionTrue, Reason: "StorageVersionMigrationFailed", Message: message}
}
