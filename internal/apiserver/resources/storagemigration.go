package resources

import (
	svmv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		column("Resource", "string", "Fully qualified resource to migrate"),
	}
	r.Cells = cells(func(m *svmv1.StorageVersionMigration) []any {
		return []any{m.Name, m.Spec.Resource.Resource + "." + m.Spec.Resource.Group}
	})
	r.Previews = previews(svmv1.GroupName, "v1beta1")
	r.Strategy = storageVersionMigrationStrategy()
	r.Status = storageVersionMigrationStatusStrategy()
	return []Resource{r}
}
