package resources

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Policy returns the rows of the group policy.
func Policy() []Resource {
	r := row[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](
		policyv1.SchemeGroupVersion, "PodDisruptionBudget", "poddisruptionbudgets", "pdb")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Min Available", "string", "The minimum number of pods that must be available."),
		column("Max Unavailable", "string", "The maximum number of pods that may be unavailable."),
		column("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time."),
		ageColumn(),
	}
	r.Cells = cells(func(p *policyv1.PodDisruptionBudget) []any {
		minAvailable, maxUnavailable := "N/A", "N/A"
		if p.Spec.MinAvailable != nil {
			minAvailable = p.Spec.MinAvailable.String()
		}
		if p.Spec.MaxUnavailable != nil {
			maxUnavailable = p.Spec.MaxUnavailable.String()
		}
		return []any{p.Name, minAvailable, maxUnavailable, int64(p.Status.DisruptionsAllowed), since(p.CreationTimestamp)}
	})
	r.Strategy = pdbStrategy()
	r.Status = pdbStatusStrategy()
	return []Resource{r}
}
