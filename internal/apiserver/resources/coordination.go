package resources

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Coordination returns the rows of the group coordination.k8s.io.
func Coordination() []Resource {
	r := row[coordinationv1.Lease, coordinationv1.LeaseList](coordinationv1.SchemeGroupVersion, "Lease", "leases")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Holder", "string", coordinationv1.LeaseSpec{}, "holderIdentity"),
		ageColumn(),
	}
	r.Cells = cells(func(l *coordinationv1.Lease) []any {
		return []any{l.Name, deref(l.Spec.HolderIdentity, ""), since(l.CreationTimestamp)}
	})
	r.Strategy = leaseStrategy()
	return []Resource{r}
}
