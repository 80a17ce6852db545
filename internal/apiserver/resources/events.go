package resources

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// eventLifeSeconds is how long an event is kept after its last write.
const eventLifeSeconds = 3600

// Events returns the row of events, which two groups serve from one storage:
// core's Event is the hub, events.k8s.io/v1 is converted to and from it.
func Events() []Resource {
	r := row[corev1.Event, corev1.EventList](corev1.SchemeGroupVersion, "Event", "events", "ev")
	r.ServedAs = []schema.GroupVersion{eventsv1.SchemeGroupVersion}
	r.TTLSeconds = eventLifeSeconds
	doc := corev1.Event{}
	name := nameColumn()
	r.Columns = append([]metav1.TableColumnDefinition{
		docColumn("Last Seen", "string", doc, "lastTimestamp"),
		docColumn("Type", "string", doc, "type"),
		docColumn("Reason", "string", doc, "reason"),
		docColumn("Object", "string", doc, "involvedObject"),
	}, wide(
		docColumn("Subobject", "string", doc.InvolvedObject, "fieldPath"),
		docColumn("Source", "string", doc, "source"),
	)...)
	r.Columns = append(r.Columns, docColumn("Message", "string", doc, "message"))
	r.Columns = append(r.Columns, wide(
		docColumn("First Seen", "string", doc, "firstTimestamp"),
		docColumn("Count", "string", doc, "count"),
		name,
	)...)
	r.Cells = cells(eventCells)
	r.SelectableFields = selectable(eventFields)
	r.Strategy = Strategy{AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true}
	return []Resource{r}
}

func eventCells(e *corev1.Event) []any {
	first := since(e.FirstTimestamp)
	if e.FirstTimestamp.IsZero() {
		first = sinceMicro(e.EventTime)
	}
	last := since(e.LastTimestamp)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	switch {
	case e.Series != nil:
		last, count = sinceMicro(e.Series.LastObservedTime), e.Series.Count
	case count == 0:
		count = 1 // the newer API leaves the count of a single event empty
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, eventSource(e),
		strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}

func eventSource(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component = e.ReportingController
	}
	if host == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	o := e.InvolvedObject
	return fields.Set{
		"involvedObject.kind":            o.Kind,
		"involvedObject.namespace":       o.Namespace,
		"involvedObject.name":            o.Name,
		"involvedObject.uid":             string(o.UID),
		"involvedObject.apiVersion":      o.APIVersion,
		"involvedObject.resourceVersion": o.ResourceVersion,
		"involvedObject.fieldPath":       o.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}
