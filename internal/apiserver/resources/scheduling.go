package resources

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scheduling returns the rows of the group scheduling.k8s.io.
func Scheduling() []Resource {
	r := row[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](schedulingv1.SchemeGroupVersion, "PriorityClass", "priorityclasses", "pc")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Value", "integer", schedulingv1.PriorityClass{}, "value"),
		docColumn("Global-Default", "boolean", schedulingv1.PriorityClass{}, "globalDefault"),
		ageColumn(),
		docColumn("PreemptionPolicy", "string", schedulingv1.PriorityClass{}, "preemptionPolicy"),
	}
	r.Cells = cells(func(c *schedulingv1.PriorityClass) []any {
		return []any{c.Name, int64(c.Value), c.GlobalDefault, since(c.CreationTimestamp), string(deref(c.PreemptionPolicy, ""))}
	})
	r.Strategy = priorityClassStrategy()
	return []Resource{r}
}
