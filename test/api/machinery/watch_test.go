package machinery

import (
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// watching watches config maps of the test's namespace until it ends.
func (c *cluster) watching(opts metav1.ListOptions) watch.Interface {
	c.Helper()
	w, err := c.CoreV1().ConfigMaps(c.ns).Watch(c.ctx, opts)
	c.ok(err)
	c.Cleanup(w.Stop)
	return w
}

// labelled makes or changes config maps.
func labelled(name, label, value string) *corev1.ConfigMap {
	cm := configMap(name, map[string]string{"value": value})
	cm.Labels = map[string]string{"watch": label}
	return cm
}

// seen takes the next event that is no bookmark, and says what it is.
func (c *cluster) seen(w watch.Interface) string {
	c.Helper()
	e := c.await("an event", w, func(e watch.Event) bool { return e.Type != watch.Bookmark })
	cm, ok := e.Object.(*corev1.ConfigMap)
	if !ok {
		c.Fatalf("the watch brought %v", e)
	}
	return fmt.Sprintf("%s %s %s", e.Type, cm.Name, cm.Data["value"])
}

func (c *cluster) sees(w watch.Interface, want ...string) {
	c.Helper()
	for _, text := range want {
		if got := c.seen(w); got != text {
			c.Errorf("saw %q, want %q", got, text)
		}
	}
}

// Conformance: [sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps
func TestWatch(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	a := c.watching(metav1.ListOptions{LabelSelector: "watch=a"})
	b := c.watching(metav1.ListOptions{LabelSelector: "watch=b"})
	both := c.watching(metav1.ListOptions{LabelSelector: "watch in (a,b)"})
	try(cms.Create(c.ctx, labelled("one", "a", "0"), metav1.CreateOptions{})).or(c)
	try(cms.Update(c.ctx, labelled("one", "a", "1"), metav1.UpdateOptions{})).or(c)
	c.ok(cms.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	try(cms.Create(c.ctx, labelled("two", "b", "0"), metav1.CreateOptions{})).or(c)
	c.ok(cms.Delete(c.ctx, "two", metav1.DeleteOptions{}))
	c.sees(a, "ADDED one 0", "MODIFIED one 1", "DELETED one 1")
	c.sees(b, "ADDED two 0", "DELETED two 0")
	c.sees(both, "ADDED one 0", "MODIFIED one 1", "DELETED one 1", "ADDED two 0", "DELETED two 0")
}

// Conformance: [sig-api-machinery] Watchers should be able to start watching from a specific resource version
func TestWatchFromVersion(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	try(cms.Create(c.ctx, labelled("one", "a", "0"), metav1.CreateOptions{})).or(c)
	first := try(cms.Update(c.ctx, labelled("one", "a", "1"), metav1.UpdateOptions{})).or(c)
	try(cms.Update(c.ctx, labelled("one", "a", "2"), metav1.UpdateOptions{})).or(c)
	c.ok(cms.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	c.sees(c.watching(metav1.ListOptions{LabelSelector: "watch", ResourceVersion: first.ResourceVersion}), "MODIFIED one 2", "DELETED one 2")
}

// Conformance: [sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch
func TestWatchAgain(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	w := c.watching(metav1.ListOptions{LabelSelector: "watch"})
	try(cms.Create(c.ctx, labelled("one", "a", "0"), metav1.CreateOptions{})).or(c)
	last := c.await("the creation", w, func(e watch.Event) bool { return e.Type == watch.Added })
	w.Stop()
	try(cms.Update(c.ctx, labelled("one", "a", "1"), metav1.UpdateOptions{})).or(c)
	c.ok(cms.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	version := last.Object.(*corev1.ConfigMap).ResourceVersion
	c.sees(c.watching(metav1.ListOptions{LabelSelector: "watch", ResourceVersion: version}), "MODIFIED one 1", "DELETED one 1")
}

// Conformance: [sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector
func TestWatchLeavingSelector(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	w := c.watching(metav1.ListOptions{LabelSelector: "watch=a"})
	try(cms.Create(c.ctx, labelled("one", "a", "0"), metav1.CreateOptions{})).or(c)
	try(cms.Update(c.ctx, labelled("one", "b", "1"), metav1.UpdateOptions{})).or(c)
	try(cms.Update(c.ctx, labelled("one", "b", "2"), metav1.UpdateOptions{})).or(c)
	try(cms.Update(c.ctx, labelled("one", "a", "3"), metav1.UpdateOptions{})).or(c)
	c.ok(cms.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	// What leaves is shown as it was when it still belonged.
	c.sees(w, "ADDED one 0", "DELETED one 0", "ADDED one 3", "DELETED one 3")
}

// Conformance: [sig-api-machinery] Watchers should receive events on concurrent watches in same order
func TestWatchOrder(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	const writes = 50
	var versions []string
	var watches []watch.Interface
	start := try(cms.List(c.ctx, metav1.ListOptions{})).or(c).ResourceVersion
	for i := range writes {
		name := "m-" + strconv.Itoa(i%7)
		cm, err := cms.Create(c.ctx, labelled(name, "a", strconv.Itoa(i)), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			cm, err = cms.Update(c.ctx, labelled(name, "a", strconv.Itoa(i)), metav1.UpdateOptions{})
		}
		c.ok(err)
		versions = append(versions, cm.ResourceVersion)
		from := start
		if i > 0 {
			from = versions[i-1]
		}
		watches = append(watches, c.watching(metav1.ListOptions{ResourceVersion: from, LabelSelector: "watch"}))
	}
	for i, w := range watches {
		for _, version := range versions[i:] {
			e := c.await("an event", w, func(watch.Event) bool { return true })
			if got := e.Object.(*corev1.ConfigMap).ResourceVersion; got != version {
				t.Fatalf("watch %d saw %s, want %s", i, got, version)
			}
		}
		w.Stop()
	}
}

// What is there comes first, then a bookmark that says so, then what happens.
func TestWatchList(t *testing.T) {
	c := begin(t)
	cms := c.CoreV1().ConfigMaps(c.ns)
	for i := range 3 {
		try(cms.Create(c.ctx, labelled(fmt.Sprint("m-", i), "a", "0"), metav1.CreateOptions{})).or(c)
	}
	var w watch.Interface
	c.eventually("the first event", func() error {
		w = c.watching(metav1.ListOptions{
			LabelSelector: "watch", SendInitialEvents: ptr(true), AllowWatchBookmarks: true,
			ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		})
		e := c.await("an event", w, func(watch.Event) bool { return true })
		if e.Type == watch.Error { // a server under load may ask to come again
			return apierrors.FromObject(e.Object)
		}
		if cm := e.Object.(*corev1.ConfigMap); e.Type != watch.Added || cm.Name != "m-0" {
			t.Errorf("saw %s %s first", e.Type, cm.Name)
		}
		return nil
	})
	c.sees(w, "ADDED m-1 0", "ADDED m-2 0")
	e := c.await("the end of what is there", w, func(watch.Event) bool { return true })
	if cm := e.Object.(*corev1.ConfigMap); e.Type != watch.Bookmark || cm.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("got %v %v, want the bookmark", e.Type, cm.ObjectMeta)
	}
	c.ok(cms.Delete(c.ctx, "m-1", metav1.DeleteOptions{}))
	c.sees(w, "DELETED m-1 0")

	_, err := cms.Watch(c.ctx, metav1.ListOptions{SendInitialEvents: ptr(true)})
	c.refused(err, apierrors.IsInvalid, "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
}

// A version that is forgotten is answered with what makes clients list again.
func TestCompaction(t *testing.T) {
	t.Parallel()
	c := alone(t, apitest.Options{NoSync: true})
	cms := c.CoreV1().ConfigMaps(c.ns)
	first := try(cms.Create(c.ctx, labelled("one", "a", "0"), metav1.CreateOptions{})).or(c)
	for i := range 5 {
		try(cms.Create(c.ctx, labelled(fmt.Sprint("m-", i), "a", "0"), metav1.CreateOptions{})).or(c)
	}
	page := try(cms.List(c.ctx, metav1.ListOptions{Limit: 2})).or(c)
	last := try(cms.Update(c.ctx, labelled("one", "a", "1"), metav1.UpdateOptions{})).or(c)
	c = c.forget(last.ResourceVersion)
	cms = c.CoreV1().ConfigMaps(c.ns)

	_, err := cms.List(c.ctx, metav1.ListOptions{
		ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact,
	})
	c.refused(err, apierrors.IsResourceExpired, "The resourceVersion for the provided list is too old.")
	_, err = cms.List(c.ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	c.refused(err, apierrors.IsResourceExpired, "The provided continue parameter is too old to display a consistent list result.")
	w, err := cms.Watch(c.ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion})
	if err == nil { // told inside the stream, when the answer had begun already
		e := c.await("the refusal", w, func(e watch.Event) bool { return e.Type == watch.Error })
		err = apierrors.FromObject(e.Object)
		w.Stop()
	}
	c.refused(err, apierrors.IsResourceExpired, "too old resource version: "+first.ResourceVersion)
	_, err = cms.List(c.ctx, metav1.ListOptions{ResourceVersion: "999999999", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	c.refused(err, apierrors.IsTimeout, "Too large resource version: 999999999, current: ")
}
