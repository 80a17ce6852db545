package resources

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node returns the rows of the group node.k8s.io.
func Node() []Resource {
	r := row[nodev1.RuntimeClass, nodev1.RuntimeClassList](nodev1.SchemeGroupVersion, "RuntimeClass", "runtimeclasses")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Handler", "string", ""),
		ageColumn(),
	}
	r.Cells = cells(func(c *nodev1.RuntimeClass) []any {
		return []any{c.Name, c.Handler, since(c.CreationTimestamp)}
	})
	r.Strategy = runtimeClassStrategy()
	return []Resource{r}
}
