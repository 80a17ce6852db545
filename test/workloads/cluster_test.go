package workloads

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolsevents "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/controllers"
	"github.com/sinawi/sinawi/internal/controllers/events"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/lab/simnode"
)

// patience bounds every wait; nothing is asserted about how long one takes.
const patience = 2 * time.Minute

// cluster is an API server, all controllers, the scheduler and simulated nodes.
type cluster struct {
	*testing.T
	kubernetes.Interface
	ctx       context.Context
	config    *rest.Config
	server    *apitest.Server
	nodes     *simnode.Nodes
	namespace string
}

// start brings up a cluster with that many nodes until the test ends.
func start(t *testing.T, nodes int) *cluster {
	t.Helper()
	var places placing.Late
	server := apitest.StartWith(t, apitest.Options{NoSync: true, Mutate: func(o *controlplane.Options) { o.Placer = &places }})
	server.Config.WarningHandler = rest.NoWarnings{}
	ctx, cancel := context.WithCancel(context.Background())
	typed := kubernetes.NewForConfigOrDie(server.Config)
	c := &cluster{T: t, Interface: typed, ctx: ctx, config: server.Config, server: server}
	var group errgroup.Group
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	places.Set(c.startParts(&group, typed))
	c.nodes = simnode.New(typed, simnode.Options{})
	group.Go(func() error { return c.nodes.Run(ctx) })
	for i := range nodes {
		if err := c.nodes.Add(ctx, fmt.Sprintf("node-%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// startParts runs controllers and scheduler as the server does, and returns the scheduler.
func (c *cluster) startParts(group *errgroup.Group, typed kubernetes.Interface) *scheduler.Scheduler {
	c.Helper()
	objects, err := cache.New(c.config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		c.Fatal(err)
	}
	writer, err := client.New(c.config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		c.Fatal(err)
	}
	if err := controllers.Index(c.ctx, objects); err != nil {
		c.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(c.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	broadcaster, stop := events.Start(c.ctx, writer, log)
	c.Cleanup(stop)
	set, err := controllers.New(loop.Deps{Client: writer, Cache: objects, Log: log}, controllers.Options{
		Config: c.config, PodCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		RootCA: []byte("a certificate"),
		Recorder: func(source string) record.EventRecorder {
			return events.Damped(broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: source}))
		},
	})
	if err != nil {
		c.Fatal(err)
	}
	told := toolsevents.NewBroadcaster(&toolsevents.EventSinkImpl{Interface: typed.EventsV1()})
	c.Cleanup(told.Shutdown)
	places := scheduler.New(writer, objects, told.NewRecorder(scheme.Scheme, corev1.DefaultSchedulerName), scheduler.Options{})
	group.Go(func() error { return objects.Start(c.ctx) })
	group.Go(func() error { return set.Run(c.ctx) })
	group.Go(func() error { return places.Run(c.ctx) })
	return places
}

// in returns the cluster for a test in a namespace of its own, made for it.
func (c *cluster) in(t *testing.T) *cluster {
	t.Helper()
	own := *c
	own.T = t
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	t.Cleanup(cancel)
	own.ctx = ctx
	ns, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "apps-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own.namespace = ns.Name
	accounts := c.CoreV1().ServiceAccounts(ns.Name)
	until(&own, accounts, "default", "made", func(*corev1.ServiceAccount) bool { return true })
	return &own
}

// try runs f as a test beside the others of the cluster, in a namespace of its own.
func (c *cluster) try(name string, f func(*cluster)) {
	c.Helper()
	c.Run(name, func(t *testing.T) { t.Parallel(); f(c.in(t)) })
}

// watcher lists and watches objects of one kind.
type watcher[L any] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// until returns the object of that name as soon as it is as wanted.
func until[T client.Object, L runtime.Object](c *cluster, api watcher[L], name, what string, wanted func(T) bool) T {
	c.Helper()
	var last T
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	follow(c, api, options, fmt.Sprintf("%s %s", name, what), func(objects map[types.UID]T) bool {
		for _, obj := range objects {
			last = obj
			if wanted(obj) {
				return true
			}
		}
		return false
	}, func() string { return describe(last) })
	return last
}

// untilGone waits until no object has the name, or another of that name has come.
func untilGone[T client.Object, L runtime.Object](c *cluster, api watcher[L], obj T) {
	c.Helper()
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", obj.GetName()).String()}
	follow(c, api, options, obj.GetName()+" gone", func(objects map[types.UID]T) bool {
		_, there := objects[obj.GetUID()]
		return !there
	}, func() string { return "it is still there" })
}

// untilAll returns the objects that a selector selects as soon as they are as wanted.
func untilAll[T client.Object, L runtime.Object](c *cluster, api watcher[L], selector labels.Set, what string, wanted func([]T) bool) []T {
	c.Helper()
	var last []T
	follow(c, api, metav1.ListOptions{LabelSelector: selector.String()}, what, func(objects map[types.UID]T) bool {
		last = last[:0]
		for _, obj := range objects {
			last = append(last, obj)
		}
		return wanted(last)
	}, func() string {
		var b strings.Builder
		for _, obj := range last {
			b.WriteString(describe(obj))
		}
		return b.String()
	})
	return last
}

// never watches for a violation while the rest of the test goes on: whatever is
// forbidden fails the test, whenever it happens until stop is called.
func never[T client.Object, L runtime.Object](c *cluster, api watcher[L], selector labels.Set, what string, forbidden func([]T) bool) (stop func()) {
	c.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	own := *c
	own.ctx = ctx
	go func() {
		defer close(done)
		_, err := observe(&own, api, metav1.ListOptions{LabelSelector: selector.String()}, func(objects map[types.UID]T) bool {
			var all []T
			for _, obj := range objects {
				all = append(all, obj)
			}
			return forbidden(all)
		})
		if err == nil {
			c.Errorf("%s: it happened", what)
		}
	}()
	return func() { cancel(); <-done }
}

func follow[T client.Object, L runtime.Object](c *cluster, api watcher[L], options metav1.ListOptions, what string, wanted func(map[types.UID]T) bool, state func() string) {
	c.Helper()
	if _, err := observe(c, api, options, wanted); err != nil {
		c.Fatalf("%s: not in time (%v): %s", what, err, state())
	}
}

// observe keeps a picture of the objects by a list and a watch until it is as wanted.
func observe[T client.Object, L runtime.Object](c *cluster, api watcher[L], options metav1.ListOptions, wanted func(map[types.UID]T) bool) (map[types.UID]T, error) {
	for {
		list, err := api.List(c.ctx, options)
		if err != nil {
			return nil, err
		}
		objects := map[types.UID]T{}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			obj := item.(T)
			objects[obj.GetUID()] = obj
		}
		if wanted(objects) {
			return objects, nil
		}
		version, err := meta.NewAccessor().ResourceVersion(list)
		if err != nil {
			return nil, err
		}
		from := options
		from.ResourceVersion = version
		w, err := api.Watch(c.ctx, from)
		if err != nil {
			return nil, err
		}
		if changes(w, objects, wanted) {
			return objects, nil
		}
		if c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
	}
}

func changes[T client.Object](w watch.Interface, objects map[types.UID]T, wanted func(map[types.UID]T) bool) bool {
	defer w.Stop()
	for e := range w.ResultChan() {
		obj, ok := e.Object.(T)
		if !ok {
			return false // an error, or a bookmark: list again
		}
		if e.Type == watch.Deleted {
			delete(objects, obj.GetUID())
		} else {
			objects[obj.GetUID()] = obj
		}
		if wanted(objects) {
			return true
		}
	}
	return false
}

// describe shows an object in a failure.
func describe(obj any) string {
	switch o := obj.(type) {
	case *corev1.Pod:
		if o == nil {
			return "no pod"
		}
		return fmt.Sprintf("\n  pod %s on %q: %s, deletion %v, labels %v", o.Name, o.Spec.NodeName, o.Status.Phase, o.DeletionTimestamp, o.Labels)
	case client.Object:
		if s, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o); err == nil {
			return fmt.Sprintf("\n  %s: spec %v status %v", o.GetName(), s["spec"], s["status"])
		}
	}
	return fmt.Sprint(obj)
}

// must is the value of a call that must not fail.
func must[T any](c *cluster) func(v T, err error) T {
	return func(v T, err error) T {
		c.Helper()
		if err != nil {
			c.Fatal(err)
		}
		return v
	}
}

// ok is for calls that return only an error.
func (c *cluster) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// updater reads and writes objects of one kind.
type updater[T any] interface {
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
}

// change reads, changes and writes an object, again if somebody was quicker.
func change[T any](c *cluster, api updater[T], name string, f func(T)) T {
	c.Helper()
	return rewrite(c, api.Get, api.Update, name, f)
}

func rewrite[T any](c *cluster, read func(context.Context, string, metav1.GetOptions) (T, error), write func(context.Context, T, metav1.UpdateOptions) (T, error), name string, f func(T)) T {
	c.Helper()
	for {
		obj, err := read(c.ctx, name, metav1.GetOptions{})
		if err == nil {
			f(obj)
			obj, err = write(c.ctx, obj, metav1.UpdateOptions{})
		}
		if err == nil {
			return obj
		}
		if !apierrors.IsConflict(err) {
			c.Fatalf("change %s: %v", name, err)
		}
	}
}

// statusWriter reads objects of one kind and writes their status.
type statusWriter[T any] interface {
	Get(context.Context, string, metav1.GetOptions) (T, error)
	UpdateStatus(context.Context, T, metav1.UpdateOptions) (T, error)
	Patch(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (T, error)
}

// changeStatus is change for a status.
func changeStatus[T any](c *cluster, api statusWriter[T], name string, f func(T)) T {
	c.Helper()
	return rewrite(c, api.Get, api.UpdateStatus, name, f)
}

// reasonUpdated is of the condition that a test adds for writesConditions.
const reasonUpdated = "E2E"

// writesConditions gives an object a condition by an update of its status, for
// which add adds one with reasonUpdated, and another by a patch, and waits until
// each is there. It returns the object as updated.
func writesConditions[T client.Object, L runtime.Object](c *cluster, api interface {
	watcher[L]
	statusWriter[T]
}, name string, add func(T)) T {
	c.Helper()
	has := func(reason string) func(T) bool {
		return func(obj T) bool { return slices.Contains(c.reasons(obj), reason) }
	}
	updated := changeStatus(c, api, name, add)
	until(c, api, name, "with the condition", has(reasonUpdated))
	must[T](c)(api.Patch(c.ctx, name, types.MergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"StatusPatched","status":"True","reason":"Patched"}]}}`), metav1.PatchOptions{}, "status"))
	until(c, api, name, "with the patched condition", has("Patched"))
	return updated
}

// reasons are those of an object's conditions.
func (c *cluster) reasons(obj client.Object) []string {
	c.Helper()
	fields := must[map[string]any](c)(runtime.DefaultUnstructuredConverter.ToUnstructured(obj))
	conditions, _, err := unstructured.NestedSlice(fields, "status", "conditions")
	c.ok(err)
	var out []string
	for _, condition := range conditions {
		reason, _, err := unstructured.NestedString(condition.(map[string]any), "reason")
		c.ok(err)
		out = append(out, reason)
	}
	return out
}

// event waits for an event about an object and returns its message.
func (c *cluster) event(about, reason string) string {
	c.Helper()
	var message string
	untilAll(c, c.CoreV1().Events(c.namespace), nil, "event "+reason+" of "+about, func(events []*corev1.Event) bool {
		for _, e := range events {
			if e.InvolvedObject.Name == about && e.Reason == reason {
				message = e.Message
				return true
			}
		}
		return false
	})
	return message
}

// annotate changes an annotation of a pod, with which its program is told what to do.
func (c *cluster) annotate(pod, key, value string) {
	c.Helper()
	data := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
	_, err := c.CoreV1().Pods(c.namespace).Patch(c.ctx, pod, types.MergePatchType, data, metav1.PatchOptions{})
	c.ok(err)
}

// template is a pod template of one container.
func template(app string, image string) corev1.PodTemplateSpec {
	grace := int64(1)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: "example.com/" + image}},
		},
	}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}
}

func selecting(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// readyPods waits until exactly n pods of the app are there, all of them ready.
func (c *cluster) readyPods(app string, n int) []*corev1.Pod {
	c.Helper()
	return untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": app}, fmt.Sprintf("%d ready pods of %s", n, app), func(pods []*corev1.Pod) bool {
		for _, pod := range pods {
			if !ready(pod) {
				return false
			}
		}
		return len(pods) == n
	})
}

// podsAre waits until the pods of the app that are not on their way out are as wanted.
func (c *cluster) podsAre(app, what string, wanted func([]*corev1.Pod) bool) []*corev1.Pod {
	c.Helper()
	var out []*corev1.Pod
	untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": app}, what, func(pods []*corev1.Pod) bool {
		out = nil
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil {
				out = append(out, pod)
			}
		}
		return wanted(out)
	})
	return out
}
