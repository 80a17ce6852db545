package resources

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
)

// objectPtr says that *T is an API object, so that a row can make new ones
// from the type alone.
type objectPtr[T any] interface {
	*T
	runtime.Object
}

// row starts a table row for kind T with list type L: everything that follows
// from the names alone.
func row[T, L any, PT objectPtr[T], PL objectPtr[L]](gv schema.GroupVersion, kind, plural string, short ...string) Resource {
	return Resource{
		GroupVersion:  gv,
		Kind:          kind,
		Plural:        plural,
		Singular:      strings.ToLower(kind),
		ShortNames:    short,
		StoragePrefix: plural,
		New:           func() runtime.Object { return PT(new(T)) },
		NewList:       func() runtime.Object { return PL(new(L)) },
	}
}

// previews names versions of a group.
func previews(group string, versions ...string) []schema.GroupVersion {
	var list []schema.GroupVersion
	for _, v := range versions {
		list = append(list, schema.GroupVersion{Group: group, Version: v})
	}
	return list
}

// cells adapts a function on the concrete type to Resource.Cells.
func cells[T runtime.Object](f func(obj T) []any) func(runtime.Object) []any {
	return func(obj runtime.Object) []any { return f(obj.(T)) }
}

type documented interface{ SwaggerDoc() map[string]string }

func column(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description}
}

// docColumn takes the column's description from the documentation of a field.
func docColumn(name, typ string, of documented, fieldName string) metav1.TableColumnDefinition {
	return column(name, typ, of.SwaggerDoc()[fieldName])
}

// wide marks columns as shown by -o wide only.
func wide(columns ...metav1.TableColumnDefinition) []metav1.TableColumnDefinition {
	for i := range columns {
		columns[i].Priority = 1
	}
	return columns
}

func nameColumn() metav1.TableColumnDefinition {
	c := docColumn("Name", "string", metav1.ObjectMeta{}, "name")
	c.Format = "name"
	return c
}

func ageColumn() metav1.TableColumnDefinition {
	return docColumn("Age", "string", metav1.ObjectMeta{}, "creationTimestamp")
}

// containerColumns are the wide columns of every kind that holds a pod template.
func containerColumns() []metav1.TableColumnDefinition {
	return wide(
		column("Containers", "string", "Names of each container in the template."),
		column("Images", "string", "Images referenced by each container in the template."),
	)
}

// since renders the time passed since t as kubectl shows ages.
func since(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// containersAndImages renders the two cells of containerColumns.
func containersAndImages(containers []corev1.Container) (names, images string) {
	n, i := make([]string, len(containers)), make([]string, len(containers))
	for k := range containers {
		n[k], i[k] = containers[k].Name, containers[k].Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// deref returns *p, or fallback when p is nil.
func deref[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
