package controllers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/controllers"
	"github.com/sinawi/sinawi/internal/controllers/events"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// env is an API server with all controllers running. There are no nodes but
// those a test makes, and pods run only as far as a test writes their status.
type env struct {
	*testing.T
	client.Client
	ctx    context.Context
	server *apitest.Server
}

func start(t *testing.T, change ...func(*controllers.Options)) *env {
	t.Helper()
	return startWith(t, func(_ *env, o *controllers.Options) {
		for _, f := range change {
			f(o)
		}
	})
}

// startWith is start for changes that need the server.
func startWith(t *testing.T, change func(*env, *controllers.Options)) *env {
	t.Helper()
	server := apitest.Start(t)
	server.Config.WarningHandler = rest.NoWarnings{}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := client.New(server.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := cache.New(server.Config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := controllers.Index(ctx, objects); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	broadcaster, stop := events.Start(ctx, c, log)
	recorder := func(source string) record.EventRecorder {
		return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: source})
	}
	opts := controllers.Options{
		Config:      server.Config,
		PodCIDR:     netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		RootCA:      []byte("a certificate"),
		Recorder:    recorder,
	}
	e := &env{T: t, Client: c, ctx: ctx, server: server}
	change(e, &opts)
	set, err := controllers.New(loop.Deps{Client: c, Cache: objects, Log: log}, opts)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- objects.Start(ctx) }()
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Errorf("controllers: %v", err)
			}
		}
		stop()
	})
	e.namespace("default")
	return e
}

// namespace makes a namespace unless it exists.
func (e *env) namespace(name string) {
	e.Helper()
	err := e.Create(e.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		e.Fatal(err)
	}
}

// create creates objects.
func (e *env) create(objs ...client.Object) {
	e.Helper()
	for _, obj := range objs {
		if err := e.Create(e.ctx, obj); err != nil {
			e.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// get reads an object by the namespace and name that it has.
func get[T client.Object](e *env, obj T) T {
	e.Helper()
	if err := e.Get(e.ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
		e.Fatalf("get %T %s: %v", obj, obj.GetName(), err)
	}
	return obj
}

// change reads, changes and writes an object, again if somebody else was quicker.
func change[T client.Object](e *env, obj T, f func(T)) {
	e.Helper()
	e.eventually("change of "+obj.GetName(), func() error {
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		f(obj)
		return e.Update(e.ctx, obj)
	})
}

// changeStatus is change for the status.
func changeStatus[T client.Object](e *env, obj T, f func(T)) {
	e.Helper()
	e.eventually("change of status of "+obj.GetName(), func() error {
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		f(obj)
		return e.Status().Update(e.ctx, obj)
	})
}

// eventually waits until f returns nil.
func (e *env) eventually(what string, f func() error) {
	e.Helper()
	apitest.Eventually(e, what, f)
}

// gone waits until the object is not there any more.
func (e *env) gone(obj client.Object) {
	e.Helper()
	uid := obj.GetUID()
	e.eventually(fmt.Sprintf("removal of %T %s", obj, obj.GetName()), func() error {
		err := e.Get(e.ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) || (err == nil && obj.GetUID() != uid) {
			return nil
		}
		return fmt.Errorf("there: %w", errOr(err, obj))
	})
}

func errOr(err error, obj client.Object) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("finalizers %v, deletion %v", obj.GetFinalizers(), obj.GetDeletionTimestamp())
}

// node makes a node.
func (e *env) node(name string) *corev1.Node {
	e.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	e.create(node)
	return node
}

// bind puts a pod on a node, as the scheduler would.
func (e *env) bind(pod corev1.Pod, node string) {
	e.Helper()
	to := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := e.SubResource("binding").Create(e.ctx, &pod, to); err != nil {
		e.Fatalf("bind %s: %v", pod.Name, err)
	}
}

// pods lists the pods with a label.
func (e *env) pods(label, value string) []corev1.Pod {
	e.Helper()
	var list corev1.PodList
	if err := e.List(e.ctx, &list, client.InNamespace("default"), client.MatchingLabels{label: value}); err != nil {
		e.Fatal(err)
	}
	return list.Items
}

// awaitPods waits until that many pods, none of them terminating, have the label.
func (e *env) awaitPods(n int, label, value string) []corev1.Pod {
	e.Helper()
	var out []corev1.Pod
	e.eventually(fmt.Sprintf("%d pods with %s=%s", n, label, value), func() error {
		out = nil
		for _, pod := range e.pods(label, value) {
			if pod.DeletionTimestamp == nil {
				out = append(out, pod)
			}
		}
		if len(out) != n {
			return fmt.Errorf("%d", len(out))
		}
		return nil
	})
	return out
}

// setPhase gives a pod a phase, readiness and an address, as an agent would.
func (e *env) setPhase(pod corev1.Pod, phase corev1.PodPhase, ready bool) {
	e.Helper()
	state := corev1.ConditionFalse
	if ready {
		state = corev1.ConditionTrue
	}
	changeStatus(e, &pod, func(p *corev1.Pod) {
		p.Status.Phase = phase
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: state, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Minute)),
		}}
		if p.Status.PodIP == "" {
			p.Status.PodIP = addressOf(p.UID)
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		}
	})
}

func addressOf(uid types.UID) string {
	var a [4]byte
	for i := range uid {
		a[1+i%3] = a[1+i%3]*31 + uid[i]
	}
	return netip.AddrFrom4([4]byte{10, a[1], a[2], a[3]}).String()
}

// run plays the agent for the pods with a label: it makes them ready as long as
// the test goes on, and lets those go that are to be deleted.
func (e *env) run(label, value string) {
	e.Helper()
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	e.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var list corev1.PodList
			_ = e.List(ctx, &list, client.MatchingLabels{label: value})
			for i := range list.Items {
				e.advance(ctx, &list.Items[i])
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

func (e *env) advance(ctx context.Context, pod *corev1.Pod) {
	switch {
	case pod.DeletionTimestamp != nil:
		_ = e.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))
	case pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "":
		pod.Status.Phase = corev1.PodRunning
		pod.Status.PodIP = addressOf(pod.UID)
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
		}}
		_ = e.Status().Update(ctx, pod)
	}
}

// template is a pod template with one container.
func template(label, value string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{label: value}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image:1"}}},
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func selector(label, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{label: value}}
}

func keyOf(obj client.Object) client.ObjectKey { return client.ObjectKeyFromObject(obj) }

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

func ptr[T any](v T) *T { return &v }
