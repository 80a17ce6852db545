package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/test/bench/figures"
)

const (
	namespace = "default"
	clients   = 50

	protobuf = "application/vnd.kubernetes.protobuf"
	json     = "application/json"
)

// prepare waits for what controllers make and lets the users in whom the
// measurement of fairness needs.
func (b *bench) prepare(ctx context.Context) error {
	c, err := b.server.client(json, "")
	if err != nil {
		return err
	}
	for {
		_, err := c.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			break
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	_, err = c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: greedy},
			{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: modest},
		},
	}, metav1.CreateOptions{})
	return err
}

// rate is what clients got done together.
type rate struct {
	done int
	took time.Duration
	cpu  time.Duration // the server's
	// When it ended, and the server's CPU time when it began.
	end   time.Time
	began time.Duration
}

func (r rate) String() string {
	return fmt.Sprintf("%.0f /s (%.2f CPU-ms each in the server)", float64(r.done)/r.took.Seconds(),
		float64(r.cpu)/float64(time.Millisecond)/float64(r.done))
}

// together lets all clients work, each over a connection of its own, until
// next has no more numbers; call does the work of one number.
func (b *bench) together(contentType string, next func() (int, bool), call func(kubernetes.Interface, int) error) (rate, error) {
	connected := make([]kubernetes.Interface, clients)
	for i := range connected {
		var err error
		if connected[i], err = b.server.client(contentType, ""); err != nil {
			return rate{}, err
		}
	}
	var done atomic.Int64
	var once sync.Once
	var failure error
	var group sync.WaitGroup
	before, began := b.server.cpu(), time.Now()
	for _, c := range connected {
		group.Go(func() {
			for {
				i, more := next()
				if !more {
					return
				}
				if err := call(c, i); err != nil {
					once.Do(func() { failure = err })
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	return rate{
		done: int(done.Load()), took: time.Since(began), cpu: b.server.cpu() - before, end: time.Now(), began: before,
	}, failure
}

// during counts up for a while.
func during(d time.Duration) func() (int, bool) {
	var n atomic.Int64
	until := time.Now().Add(d)
	return func() (int, bool) { return int(n.Add(1)), time.Now().Before(until) }
}

// upTo counts from 1 to n.
func upTo(n int) func() (int, bool) {
	var last atomic.Int64
	return func() (int, bool) {
		i := int(last.Add(1))
		return i, i <= n
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Data:       map[string]string{"a": strings.Repeat("x", 100), "b": strings.Repeat("y", 100)},
	}
}

// small measures creates and gets of small objects.
func (b *bench) small(ctx context.Context) error {
	for _, t := range []struct{ name, short, contentType, aim string }{
		{"protobuf", "p", protobuf, "≥ 1500 /s"}, {"JSON", "j", json, ""},
	} {
		created, err := b.together(t.contentType, during(b.Load), func(c kubernetes.Interface, i int) error {
			_, err := c.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(fmt.Sprintf("%s-%d", t.short, i)), metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return err
		}
		b.Add(fmt.Sprintf("creates of config maps, %d clients, %s", clients, t.name), created.String(), t.aim)
		read, err := b.together(t.contentType, during(b.Load), func(c kubernetes.Interface, i int) error {
			_, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, fmt.Sprintf("%s-%d", t.short, 1+i%created.done), metav1.GetOptions{})
			return err
		})
		if err != nil {
			return err
		}
		b.Add(fmt.Sprintf("gets of config maps, %d clients, %s", clients, t.name), read.String(), "")
	}
	return b.clear(ctx)
}

// clear removes the config maps.
func (b *bench) clear(ctx context.Context) error {
	c, err := b.server.client(protobuf, "")
	if err != nil {
		return err
	}
	return c.CoreV1().ConfigMaps(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name!=kube-root-ca.crt"})
}

// pod is one that nothing in the cluster works on.
func pod(name string) *corev1.Pod {
	no := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{"app": "bench", "pod-template-hash": "5d4f8c7b96"},
		},
		Spec: corev1.PodSpec{
			SchedulerName:                "nobody",
			AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "web", Image: "registry.example/web:1.2.3",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env:   []corev1.EnvVar{{Name: "MODE", Value: "bench"}, {Name: "LEVEL", Value: "info"}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{},
				}},
			}},
		},
	}
}

// pods stores many.
func (b *bench) pods(ctx context.Context) error {
	created, err := b.together(protobuf, upTo(b.Pods), func(c kubernetes.Interface, i int) error {
		p := pod(fmt.Sprintf("web-%d", i))
		p.Spec.Containers[0].ReadinessProbe.TCPSocket.Port.IntVal = 8080
		_, err := c.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	b.stored = b.Pods
	b.Add(fmt.Sprintf("creates of %d pods, %d clients, protobuf", b.Pods, clients), created.String(), "")
	return nil
}

// lists measures whole lists of the pods: the latest state, and any state.
func (b *bench) lists(ctx context.Context) error {
	const times = 9
	for _, t := range []struct{ name, contentType, version string }{
		{"consistent, protobuf", protobuf, ""}, {"rv=0, protobuf", protobuf, "0"},
		{"consistent, JSON", json, ""}, {"rv=0, JSON", json, "0"},
	} {
		c, err := b.server.client(t.contentType, "")
		if err != nil {
			return err
		}
		var took []time.Duration
		before := b.server.cpu()
		for range times {
			began := time.Now()
			request := c.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods")
			if t.version != "" {
				request = request.Param("resourceVersion", t.version)
			}
			if _, err := request.DoRaw(ctx); err != nil {
				return err
			}
			took = append(took, time.Since(began))
		}
		b.Add(fmt.Sprintf("list of %d pods, %s, p50", b.stored, t.name), fmt.Sprintf("%s (%s CPU in the server)",
			figures.Milliseconds(figures.Percentile(took, 50)), figures.Milliseconds((b.server.cpu()-before)/times)), "")
	}
	return nil
}
