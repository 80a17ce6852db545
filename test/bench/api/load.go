package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

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

// caller is a client that costs little itself, since it shares the processors with
// the server: it sends objects and reads whole answers, and does not decode them.
type caller struct {
	http        *http.Client
	host        string
	contentType string
	encoder     runtime.Encoder
}

// newCaller has a connection of its own.
func (b *bench) newCaller(contentType string) (*caller, error) {
	transport, err := b.server.transport()
	if err != nil {
		return nil, err
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), contentType)
	if !ok {
		return nil, fmt.Errorf("no encoding for %s", contentType)
	}
	return &caller{
		http: &http.Client{Transport: transport}, host: b.server.config.Host, contentType: contentType,
		encoder: scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion),
	}, nil
}

func (c *caller) create(ctx context.Context, resource string, obj runtime.Object) error {
	body, err := runtime.Encode(c.encoder, obj)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, resource, bytes.NewReader(body))
}

func (c *caller) get(ctx context.Context, resource, name string) error {
	return c.call(ctx, http.MethodGet, resource+"/"+name, nil)
}

func (c *caller) call(ctx context.Context, method, path string, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, method, c.host+"/api/v1/namespaces/"+namespace+"/"+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", c.contentType)
	if body != nil {
		request.Header.Set("Content-Type", c.contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return nil
}

// together lets all clients work, each over a connection of its own, until
// next has no more numbers; call does the work of one number.
func (b *bench) together(contentType string, next func() (int, bool), call func(*caller, int) error) (rate, error) {
	connected := make([]*caller, clients)
	for i := range connected {
		var err error
		if connected[i], err = b.newCaller(contentType); err != nil {
			return rate{}, err
		}
		if err := connected[i].get(context.Background(), "serviceaccounts", "default"); err != nil {
			return rate{}, fmt.Errorf("connect: %w", err)
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
		created, err := b.together(t.contentType, during(b.Load), func(c *caller, i int) error {
			return c.create(ctx, "configmaps", configMap(fmt.Sprintf("%s-%d", t.short, i)))
		})
		if err != nil {
			return err
		}
		b.Add(fmt.Sprintf("creates of config maps, %d clients, %s", clients, t.name), created.String(), t.aim)
		read, err := b.together(t.contentType, during(b.Load), func(c *caller, i int) error {
			return c.get(ctx, "configmaps", fmt.Sprintf("%s-%d", t.short, 1+i%created.done))
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
	created, err := b.together(protobuf, upTo(b.Pods), func(c *caller, i int) error {
		p := pod(fmt.Sprintf("web-%d", i))
		p.Spec.Containers[0].ReadinessProbe.TCPSocket.Port.IntVal = 8080
		return c.create(ctx, "pods", p)
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
