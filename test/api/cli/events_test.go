package cli

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	typedevents "k8s.io/client-go/kubernetes/typed/events/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/lab/labtest"
)

func TestEvents(t *testing.T) {
	server := apitest.StartWith(t, apitest.Options{NoSync: true})
	client := server.Clientset()
	// Conformance: [sig-instrumentation] Events should manage the lifecycle of an event
	t.Run("lifecycle", func(t *testing.T) { coreLifecycle(t, client) })
	// Conformance: [sig-instrumentation] Events should delete a collection of events
	t.Run("collection", func(t *testing.T) { coreCollection(t, client) })
	// Conformance: [sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed
	t.Run("new lifecycle", func(t *testing.T) { newLifecycle(t, client) })
	// Conformance: [sig-instrumentation] Events API should delete a collection of events
	t.Run("new collection", func(t *testing.T) { newCollection(t, client) })
	t.Run("both", func(t *testing.T) { bothGroups(t, client) })
}

func space(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "events-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// must is the value of a call that must not fail.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func coreEvent(namespace, name string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Labels: map[string]string{"testevent-constant": "true"}},
		Message:        "This is a test event",
		Reason:         "Test",
		Type:           "Normal",
		Count:          1,
		InvolvedObject: corev1.ObjectReference{Namespace: namespace, Kind: "Pod", Name: "none"},
	}
}

var constant = metav1.ListOptions{LabelSelector: "testevent-constant=true"}

func coreLifecycle(t *testing.T, client kubernetes.Interface) {
	ns := space(t, client)
	api := client.CoreV1().Events(ns)
	made := must[*corev1.Event](t)(api.Create(t.Context(), coreEvent(ns, "event-test"), metav1.CreateOptions{}))
	if n := everywhere(t, client, ns); n != 1 {
		t.Errorf("%d events in all namespaces, want 1", n)
	}
	data := []byte(`{"message":"This is a test event - patched"}`)
	must[*corev1.Event](t)(api.Patch(t.Context(), "event-test", types.StrategicMergePatchType, data, metav1.PatchOptions{}))
	got := must[*corev1.Event](t)(api.Get(t.Context(), "event-test", metav1.GetOptions{}))
	if got.Message != "This is a test event - patched" {
		t.Errorf("the message is %q", got.Message)
	}
	got.Series = &corev1.EventSeries{Count: 100, LastObservedTime: metav1.MicroTime{Time: time.Unix(1505828956, 0)}}
	updated := must[*corev1.Event](t)(api.Update(t.Context(), got, metav1.UpdateOptions{}))
	if updated.Series == nil || updated.Series.Count != 100 || updated.UID != made.UID {
		t.Errorf("updated: %+v", updated)
	}
	fetched := must[*corev1.Event](t)(api.Get(t.Context(), "event-test", metav1.GetOptions{}))
	if d := cmp.Diff(updated, fetched); d != "" {
		t.Errorf("what was written differs from what is read (-written +read):\n%s", d)
	}
	list := must[*corev1.EventList](t)(api.List(t.Context(), metav1.ListOptions{
		LabelSelector: constant.LabelSelector, FieldSelector: "involvedObject.kind=Pod,reason=Test,type=Normal",
	}))
	if len(list.Items) != 1 {
		t.Errorf("%d events by fields, want 1", len(list.Items))
	}
	if err := api.Delete(t.Context(), "event-test", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := everywhere(t, client, ns); n != 0 {
		t.Errorf("%d events after the deletion", n)
	}
}

// everywhere counts the tests' events of the namespace in a list of all namespaces.
func everywhere(t *testing.T, client kubernetes.Interface, namespace string) int {
	t.Helper()
	n := 0
	for _, e := range must[*corev1.EventList](t)(client.CoreV1().Events("").List(t.Context(), constant)).Items {
		if e.Namespace == namespace {
			n++
		}
	}
	return n
}

func coreCollection(t *testing.T, client kubernetes.Interface) {
	ns := space(t, client)
	api := client.CoreV1().Events(ns)
	for _, name := range []string{"test-event-1", "test-event-2", "test-event-3"} {
		must[*corev1.Event](t)(api.Create(t.Context(), coreEvent(ns, name), metav1.CreateOptions{}))
	}
	other := coreEvent(ns, "other")
	other.Labels = nil
	must[*corev1.Event](t)(api.Create(t.Context(), other, metav1.CreateOptions{}))
	if n := len(must[*corev1.EventList](t)(api.List(t.Context(), constant)).Items); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
	if err := api.DeleteCollection(t.Context(), metav1.DeleteOptions{}, constant); err != nil {
		t.Fatal(err)
	}
	left := must[*corev1.EventList](t)(api.List(t.Context(), metav1.ListOptions{})).Items
	if len(left) != 1 || left[0].Name != "other" {
		t.Errorf("left: %v", left)
	}
}

func newEvent(namespace, name string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: name, Labels: map[string]string{"testevent-constant": "true"}},
		Regarding:           corev1.ObjectReference{Namespace: namespace, Kind: "Pod", Name: "none"},
		EventTime:           metav1.MicroTime{Time: time.Unix(1505828956, 123456000)},
		Note:                "This is " + name,
		Action:              "Do",
		Reason:              "Test",
		Type:                "Normal",
		ReportingController: "test-controller",
		ReportingInstance:   "test-node",
	}
}

func newLifecycle(t *testing.T, client kubernetes.Interface) {
	ns := space(t, client)
	api, all := client.EventsV1().Events(ns), client.EventsV1().Events("")
	must[*eventsv1.Event](t)(api.Create(t.Context(), newEvent(ns, "event-test"), metav1.CreateOptions{}))
	for what, api := range map[string]typedevents.EventInterface{"its namespace": api, "all namespaces": all} {
		if n := count(t, api, ns); n != 1 {
			t.Errorf("%d events in %s, want 1", n, what)
		}
	}
	before := must[*eventsv1.Event](t)(api.Get(t.Context(), "event-test", metav1.GetOptions{}))
	if !before.EventTime.Time.Equal(time.Unix(1505828956, 123456000)) {
		t.Errorf("the time is %v: microseconds are kept", before.EventTime)
	}
	data := []byte(`{"series":{"count":2,"lastObservedTime":"2017-09-19T13:49:17.000000Z"}}`)
	must[*eventsv1.Event](t)(api.Patch(t.Context(), "event-test", types.StrategicMergePatchType, data, metav1.PatchOptions{}))
	patched := must[*eventsv1.Event](t)(api.Get(t.Context(), "event-test", metav1.GetOptions{}))
	if patched.Series == nil || patched.Series.Count != 2 {
		t.Errorf("the series is %v", patched.Series)
	}
	patched.Series.Count = 100
	updated := must[*eventsv1.Event](t)(api.Update(t.Context(), patched, metav1.UpdateOptions{}))
	if updated.Series.Count != 100 || updated.Note != before.Note {
		t.Errorf("updated: %+v", updated)
	}
	moved := updated.DeepCopy()
	moved.Reason = "Other"
	if _, err := api.Update(t.Context(), moved, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("another reason: %v, want invalid: only the series may change", err)
	}
	if err := api.Delete(t.Context(), "event-test", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, api, ns) + count(t, all, ns); n != 0 {
		t.Errorf("%d events after the deletion", n)
	}
}

func count(t *testing.T, api typedevents.EventInterface, namespace string) int {
	t.Helper()
	n := 0
	for _, e := range must[*eventsv1.EventList](t)(api.List(t.Context(), constant)).Items {
		if e.Namespace == namespace {
			n++
		}
	}
	return n
}

func newCollection(t *testing.T, client kubernetes.Interface) {
	ns := space(t, client)
	api := client.EventsV1().Events(ns)
	for _, name := range []string{"test-event-1", "test-event-2", "test-event-3"} {
		must[*eventsv1.Event](t)(api.Create(t.Context(), newEvent(ns, name), metav1.CreateOptions{}))
	}
	if n := count(t, api, ns); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
	if err := api.DeleteCollection(t.Context(), metav1.DeleteOptions{}, constant); err != nil {
		t.Fatal(err)
	}
	if n := count(t, api, ns); n != 0 {
		t.Errorf("%d events, want none", n)
	}
}

// bothGroups finds an event of one group in the other.
func bothGroups(t *testing.T, client kubernetes.Interface) {
	ns := space(t, client)
	must[*eventsv1.Event](t)(client.EventsV1().Events(ns).Create(t.Context(), newEvent(ns, "new"), metav1.CreateOptions{}))
	var core typedcore.EventInterface = client.CoreV1().Events(ns)
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Patience)
	defer cancel()
	old := must[*corev1.Event](t)(core.Get(ctx, "new", metav1.GetOptions{}))
	if old.Message != "This is new" || old.InvolvedObject.Name != "none" || old.ReportingController != "test-controller" {
		t.Errorf("an event of events.k8s.io in the core group: %+v", old)
	}
	must[*corev1.Event](t)(core.Create(ctx, coreEvent(ns, "old"), metav1.CreateOptions{}))
	fresh := must[*eventsv1.Event](t)(client.EventsV1().Events(ns).Get(ctx, "old", metav1.GetOptions{}))
	if fresh.Note != "This is a test event" || fresh.Regarding.Name != "none" || fresh.DeprecatedCount != 1 {
		t.Errorf("an event of the core group in events.k8s.io: %+v", fresh)
	}
}
