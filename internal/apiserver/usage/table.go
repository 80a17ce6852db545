package usage

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// row is what is printed of an object.
type row struct {
	name   string
	usage  corev1.ResourceList
	window metav1.Duration
}

// table prints an object or a list of them.
func table[T any](obj runtime.Object, of func(*T) row) (*metav1.Table, error) {
	t := &metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
		{Name: "cpu", Type: "string", Format: "quantity"},
		{Name: "memory", Type: "string", Format: "quantity"},
		{Name: "Window", Type: "string", Format: "duration"},
	}}
	add := func(o runtime.Object) error {
		m, ok := any(o).(*T)
		if !ok {
			return fmt.Errorf("print %T: not known", o)
		}
		r := of(m)
		t.Rows = append(t.Rows, metav1.TableRow{
			Cells:  []any{r.name, r.usage.Cpu().String(), r.usage.Memory().String(), r.window.Duration.String()},
			Object: runtime.RawExtension{Object: o},
		})
		return nil
	}
	if !meta.IsListType(obj) {
		return t, add(obj)
	}
	return t, meta.EachListItem(obj, add)
}
