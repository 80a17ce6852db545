package machinery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/controllers"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// patience bounds every wait; nothing is asserted about how long one takes.
const patience = 90 * time.Second

// shared is the server of all tests, from before the first to after the last.
var shared *apitest.Server

func TestMain(m *testing.M) {
	p := &process{}
	code := 1
	klog.SetLogger(logr.Discard()) // what upstream's parts say of broken webhooks
	ctrl.SetLogger(logr.Discard())
	func() {
		defer p.end()
		shared = apitest.Start(p)
		shared.Config.WarningHandler = rest.NoWarnings{}
		runControllers(p, shared)
		code = m.Run()
	}()
	if p.failed {
		code = 1
	}
	os.Exit(code)
}

// process stands where a test would, for what outlives every single one.
type process struct {
	testing.TB
	cleanups []func()
	failed   bool
}

func (p *process) Helper()           {}
func (p *process) Output() io.Writer { return io.Discard }
func (p *process) Cleanup(f func())  { p.cleanups = append(p.cleanups, f) }
func (p *process) Errorf(format string, args ...any) {
	p.failed = true
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (p *process) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
func (p *process) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (p *process) TempDir() string {
	dir, err := os.MkdirTemp("", "machinery-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (p *process) end() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
}

// runControllers runs all controllers until the test ends.
func runControllers(t testing.TB, s *apitest.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	objects, err := cache.New(s.Config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := controllers.Index(ctx, objects); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(s.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	set, err := controllers.New(loop.Deps{Client: c, Cache: objects, Log: log, Events: &record.FakeRecorder{}}, controllers.Options{
		Config:      s.Config,
		PodCIDR:     netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		RootCA:      []byte("a certificate"),
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- objects.Start(ctx) }()
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
}

// cluster is what one test sees of the cluster.
type cluster struct {
	*testing.T
	kubernetes.Interface
	ctx    context.Context
	server *apitest.Server
	dyn    dynamic.Interface
	ns     string // the test's own namespace
}

// begin gives the test a namespace of its own on the shared server and lets it
// run beside others.
func begin(t *testing.T) *cluster {
	t.Helper()
	t.Parallel()
	return on(t, shared)
}

// alone is begin on a server of the test's own, without controllers.
func alone(t *testing.T, opts apitest.Options) *cluster {
	t.Helper()
	s := apitest.StartWith(t, opts)
	s.Config.WarningHandler = rest.NoWarnings{}
	return on(t, s)
}

func on(t *testing.T, s *apitest.Server) *cluster {
	t.Helper()
	c := &cluster{T: t, Interface: s.Clientset(), ctx: t.Context(), server: s, dyn: dynamic.NewForConfigOrDie(s.Config)}
	c.ns = c.namespace(nil)
	return c
}

// namespace makes a namespace, with the label "test" of its own name and those
// given. It stays: to empty dozens of them would keep the namespace controller
// from those that tests wait for.
func (c *cluster) namespace(labels map[string]string) string {
	c.Helper()
	name := "t-" + rand.String(8)
	all := map[string]string{"test": name}
	for k, v := range labels {
		all[k] = v
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}}
	if _, err := c.CoreV1().Namespaces().Create(c.ctx, ns, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
	c.server.Account(c.ctx, name)
	return name
}

// here selects the test's own namespace.
func (c *cluster) here() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"test": c.ns}}
}

// later runs f, which may use the context it gets, when the test has ended.
func (c *cluster) later(f func(context.Context)) {
	c.Cleanup(func() { f(context.WithoutCancel(c.ctx)) })
}

// eventually waits until f returns nil.
func (c *cluster) eventually(what string, f func() error) {
	c.Helper()
	apitest.Eventually(c, what, f)
}

// await returns the first event of a watch that meets the condition.
func (c *cluster) await(what string, w watch.Interface, meets func(watch.Event) bool) watch.Event {
	c.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				c.Fatalf("%s: the watch has ended", what)
			}
			if meets(e) {
				return e
			}
			if e.Type == watch.Error {
				c.Fatalf("%s: %v", what, apierrors.FromObject(e.Object))
			}
		case <-timeout.C:
			c.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// get reads a path as it is; a refusal is an error.
func (c *cluster) get(path, accept string) (string, error) {
	data, err := c.CoreV1().RESTClient().Get().RequestURI(path).SetHeader("Accept", accept).DoRaw(c.ctx)
	return string(data), err
}

// attempt is what a call returned: try(call()).or(c) is its value, or ends the test.
type attempt[T any] struct {
	value T
	err   error
}

func try[T any](v T, err error) attempt[T] { return attempt[T]{v, err} }

func (a attempt[T]) or(c *cluster) T {
	c.Helper()
	if a.err != nil {
		c.Fatal(a.err)
	}
	return a.value
}

// ok ends the test at an error.
func (c *cluster) ok(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// refused checks that the error has the kind and says the text.
func (c *cluster) refused(err error, is func(error) bool, text string) {
	c.Helper()
	if err == nil || is != nil && !is(err) || !strings.Contains(err.Error(), text) {
		c.Errorf("got %v, want a refusal that says %q", err, text)
	}
}

// object reads an object from JSON, with %s and the like filled in.
func object(format string, args ...any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(fmt.Appendf(nil, format, args...), &o.Object); err != nil {
		panic(fmt.Errorf("%w in %s", err, fmt.Sprintf(format, args...)))
	}
	// What clients read has whole numbers, not floats.
	o.Object = normal(o.Object).(map[string]any)
	return o
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = normal(v[k])
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

// at reads what lies in an object below dotted names.
func at(o *unstructured.Unstructured, path string) any {
	var v any = o.Object
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

// template is a pod template with one container that nobody runs.
func template(labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image:1"}}},
	}
}

func pod(name string, labels map[string]string) *corev1.Pod {
	t := template(labels)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: t.Spec}
}

func ptr[T any](v T) *T { return &v }
