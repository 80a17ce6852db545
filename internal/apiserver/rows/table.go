package rows

import (
	"context"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// table shows objects as a row's cells.
type table struct {
	columns []metav1.TableColumnDefinition
	cells   func(runtime.Object) []any
}

func tableConvertor(row resources.Resource) rest.TableConvertor {
	if row.Cells == nil {
		return rest.NewDefaultTableConvertor(schema.GroupResource{Group: row.GroupVersion.Group, Resource: row.Plural})
	}
	return Table(row.Columns, row.Cells)
}

// Table shows objects, and lists of them, as cells under columns.
func Table(columns []metav1.TableColumnDefinition, cells func(runtime.Object) []any) rest.TableConvertor {
	return table{columns: columns, cells: cells}
}

func (t table) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	add := func(o runtime.Object) error {
		out.Rows = append(out.Rows, metav1.TableRow{Cells: t.cells(o), Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if meta.IsListType(obj) {
		out.Rows = make([]metav1.TableRow, 0, meta.LenList(obj))
		if err := meta.EachListItem(obj, add); err != nil {
			return nil, err
		}
	} else if err := add(obj); err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
		out.Continue = m.GetContinue()
		out.RemainingItemCount = m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = t.columns
	}
	return out, nil
}

// scaleTable shows a scale as upstream does.
func scaleTable() table {
	docs := metav1.ObjectMeta{}.SwaggerDoc()
	return table{
		columns: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: docs["name"]},
			{Name: "Desired", Type: "integer", Description: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]},
			{Name: "Available", Type: "integer", Description: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]},
			{Name: "Age", Type: "string", Description: docs["creationTimestamp"]},
		},
		cells: func(obj runtime.Object) []any {
			s, ok := obj.(*autoscalingv1.Scale)
			if !ok {
				return nil
			}
			age := "<unknown>"
			if !s.CreationTimestamp.IsZero() {
				age = duration.HumanDuration(time.Since(s.CreationTimestamp.Time))
			}
			return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), age}
		},
	}
}
