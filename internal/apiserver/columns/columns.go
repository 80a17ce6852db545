// Package columns renders objects as the rows of kubectl get: the same
// columns, the same words in the cells, as any Kubernetes server shows. Each
// kind has a list of definitions and a function from an object to its cells,
// wide ones included; both go into a row of the resource table. It reads the
// clock for ages and nothing else.
package columns

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	none    = "<none>"
	unknown = "<unknown>"
)

// Name is the first column of nearly every kind.
func Name() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

// Age is the column that shows the time since creation.
func Age() metav1.TableColumnDefinition {
	return Text("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// Text is a column of strings.
func Text(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// Number is a column of integers.
func Number(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Wide makes a column appear in wide output alone.
func Wide(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Priority = 1
	return c
}

// Since says how long ago t was, as "5m" or "3d4h".
func Since(t metav1.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// SinceMicro is Since for times of microsecond precision.
func SinceMicro(t metav1.MicroTime) string { return Since(metav1.Time(t)) }

// Containers returns the names and the images of containers, comma separated.
func Containers(containers []corev1.Container) (names, images string) {
	n := make([]string, len(containers))
	i := make([]string, len(containers))
	for k := range containers {
		n[k], i[k] = containers[k].Name, containers[k].Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// OrNone is s, or "<none>" for the empty string.
func OrNone(s string) string { return or(s, none) }

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
