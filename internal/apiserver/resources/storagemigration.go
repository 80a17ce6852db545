package resources

import (
	svmv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// StorageMigration returns the rows of the group storagemigration.k8s.io.
func StorageMigration() []Resource {
	r := row[svmv1.StorageVersionMigration, svmv1.StorageVersionMigrationList](
		svmv1.SchemeGroupVersion, "StorageVersionMigration", "storageversionmigrations")
	r.ClusterScoped = true
	name := nameColumn()
	name.Format = ""
	r.Columns = []metav1.TableColumnDefinition{
		name,
		column("Resource", "string", "GroupResource to migrate"),
		column("Status", "string", "Status of the migration"),
	}
	r.Cells = cells(func(m *svmv1.StorageVersionMigration) []any {
		status := "Unknown"
		for _, c := range m.Status.Conditions {
			switch t := svmv1.MigrationConditionType(c.Type); {
			case c.Status != metav1.ConditionTrue:
			case t == svmv1.MigrationRunning, t == svmv1.MigrationSucceeded, t == svmv1.MigrationFailed:
				status = c.Type
			}
		}
		resource := schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}
		return []any{m.Name, resource.String(), status}
	})
	r.Previews = previews(svmv1.GroupName, "v1beta1")
	r.Strategy = storageVersionMigrationStrategy()
	r.Status = storageVersionMigrationStatusStrategy()
	return []Resource{r}
}
