package resources

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/coordination"
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
	return []Resource{r, leaseCandidates()}
}

func leaseCandidates() Resource {
	r := row[coordinationv1beta1.LeaseCandidate, coordinationv1beta1.LeaseCandidateList](
		coordinationv1beta1.SchemeGroupVersion, "LeaseCandidate", "leasecandidates")
	r.Previews = previews(coordinationv1.GroupName, "v1alpha2")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("LeaseName", "string", coordinationv1beta1.LeaseCandidateSpec{}, "leaseName"),
		docColumn("BinaryVersion", "string", coordinationv1beta1.LeaseCandidateSpec{}, "binaryVersion"),
		docColumn("EmulationVersion", "string", coordinationv1beta1.LeaseCandidateSpec{}, "emulationVersion"),
		docColumn("Strategy", "string", coordinationv1beta1.LeaseCandidateSpec{}, "strategy"),
		ageColumn(),
	}
	r.Cells = cells(func(l *coordinationv1beta1.LeaseCandidate) []any {
		return []any{l.Name, l.Spec.LeaseName, l.Spec.BinaryVersion, l.Spec.EmulationVersion, string(l.Spec.Strategy), since(l.CreationTimestamp)}
	})
	r.Strategy = checked(Strategy{AllowCreateOnUpdate: true}, coordination.LeaseCandidate, coordination.LeaseCandidateUpdate)
	return r
}
