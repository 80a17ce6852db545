package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	inprocess "github.com/sinawi/sinawi/internal/client"
	"github.com/sinawi/sinawi/internal/client/given"
)

// patience bounds every wait; a machine under load needs some of it.
const patience = 2 * time.Minute

// way is one implementation of client and cache.
type way struct {
	name string
	make func(testing.TB, *apitest.Server) (client.Client, cache.Cache)
}

func ways() []way {
	return []way{{"requests", byRequests}, {"in process", inProcess}}
}

func byRequests(t testing.TB, s *apitest.Server) (client.Client, cache.Cache) {
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = rest.NoWarnings{}
	config.UserAgent = "contract"
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := cache.New(config, cache.Options{Scheme: clientgoscheme.Scheme, Mapper: c.RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c, objects
}

func inProcess(t testing.TB, s *apitest.Server) (client.Client, cache.Cache) {
	c, objects := byRequests(t, s)
	admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return inprocess.New(s.API, c, inprocess.Options{User: admin, Manager: "contract"}),
		inprocess.NewCache(s.API, objects, clientgoscheme.Scheme, inprocess.CacheOptions{Guard: true})
}

// run runs f for both implementations on one server, each in a namespace of its
// own.
func run(t *testing.T, f func(t *testing.T, c client.Client, objects cache.Cache, namespace string)) {
	s := apitest.Start(t)
	for i, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			c, objects := w.make(t, s)
			ns := fmt.Sprintf("way-%d", i)
			if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
				t.Fatal(err)
			}
			s.Account(t.Context(), ns)
			f(t, c, objects, ns)
		})
	}
}

func start(t *testing.T, objects cache.Cache) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- objects.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("cache: %v", err)
		}
	})
	synced, give := context.WithTimeout(ctx, patience)
	defer give()
	if !objects.WaitForCacheSync(synced) {
		t.Fatal("the cache is not filled")
	}
}

func pod(namespace, name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "none.invalid/c"}}},
	}
}

func TestWrites(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, _ cache.Cache, ns string) {
		ctx := t.Context()
		p := pod(ns, "", map[string]string{"a": "1"})
		p.GenerateName = "p-"
		must(t, c.Create(ctx, p))
		if p.Name == "" || p.UID == "" || p.ResourceVersion == "" {
			t.Errorf("the created pod lacks its identity: %+v", p.ObjectMeta)
		}
		if p.Spec.RestartPolicy != corev1.RestartPolicyAlways || len(p.Spec.Volumes) == 0 {
			t.Errorf("defaults or admission left the pod alone: %+v", p.Spec)
		}
		if len(p.ManagedFields) != 1 || p.ManagedFields[0].Manager != "contract" || p.ManagedFields[0].Operation != metav1.ManagedFieldsOperationUpdate {
			t.Errorf("managed fields are %+v", p.ManagedFields)
		}

		away := pod(ns, "", map[string]string{"a": "1"})
		away.GenerateName = "p-"
		must(t, c.Create(ctx, away, given.Away{}))
		volume := cmpopts.IgnoreFields(corev1.Volume{}, "Name") // made up, as the pod's own is
		mount := cmpopts.IgnoreFields(corev1.VolumeMount{}, "Name")
		if diff := cmp.Diff(p.Spec, away.Spec, volume, mount); diff != "" || away.UID == p.UID || away.Name == p.Name || len(away.ManagedFields) != 1 {
			t.Errorf("a pod that was given away is another one (-kept, +given):\n%s%+v", diff, away.ObjectMeta)
		}

		before := p.DeepCopy()
		p.Labels["b"] = "2"
		must(t, c.Patch(ctx, p, client.MergeFrom(before)))
		p.Annotations = map[string]string{"x": "y"}
		must(t, c.Update(ctx, p))
		var got corev1.Pod
		must(t, c.Get(ctx, client.ObjectKeyFromObject(p), &got))
		if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, got.Labels); diff != "" || got.Annotations["x"] != "y" {
			t.Errorf("labels (-want +got):\n%s annotations %v", diff, got.Annotations)
		}
		if err := c.Update(ctx, before); !apierrors.IsConflict(err) {
			t.Errorf("updating a stale pod: %v, want a conflict", err)
		}
		bad := pod(ns, "bad", nil)
		bad.Spec.Containers = nil
		asked := bad.DeepCopy()
		if err := c.Create(ctx, bad); !apierrors.IsInvalid(err) {
			t.Errorf("creating an invalid pod: %v", err)
		}
		if diff := cmp.Diff(asked, bad); diff != "" {
			t.Errorf("a pod that was refused has changed: %s", diff)
		}
		if err := c.Create(ctx, pod("not-there", "p", nil)); !apierrors.IsNotFound(err) {
			t.Errorf("creating in no namespace: %v", err)
		}
		wrong := types.UID("wrong")
		if err := c.Delete(ctx, p, client.Preconditions{UID: &wrong}); !apierrors.IsConflict(err) {
			t.Errorf("deleting another pod of that name: %v", err)
		}
		must(t, c.Delete(ctx, p))
		if err := c.Get(ctx, client.ObjectKeyFromObject(p), &got); !apierrors.IsNotFound(err) {
			t.Errorf("reading a deleted pod: %v", err)
		}
	})
}

func TestManagedFieldsOfReplicas(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, _ cache.Cache, ns string) {
		var fields []string
		for i := range 3 {
			p := pod(ns, fmt.Sprintf("p-%d", i), map[string]string{"a": "b"})
			must(t, c.Create(t.Context(), p))
			data, err := json.Marshal(p.ManagedFields[0].FieldsV1)
			must(t, err)
			fields = append(fields, string(data))
		}
		if fields[0] != fields[1] || fields[0] != fields[2] {
			t.Errorf("managed fields differ between replicas: %v", fields)
		}
		other := pod(ns, "other", map[string]string{"z": "b"})
		must(t, c.Create(t.Context(), other))
		data, err := json.Marshal(other.ManagedFields[0].FieldsV1)
		must(t, err)
		if string(data) == fields[0] {
			t.Error("another pod has the managed fields of the first")
		}
	})
}

func TestManagedFieldsOfEvents(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, _ cache.Cache, ns string) {
		fields := func(i int, change func(*eventsv1.Event)) string {
			e := placed(i, "p")
			e.Namespace, e.Regarding.Namespace = ns, ns
			change(e)
			must(t, c.Create(t.Context(), e))
			data, err := json.Marshal(e.ManagedFields)
			must(t, err)
			return string(bytes.ReplaceAll(data, []byte(e.ManagedFields[0].Time.UTC().Format(time.RFC3339)), nil))
		}
		same := func(*eventsv1.Event) {}
		first := fields(1, same)
		if !strings.Contains(first, `"f:note":{}`) || !strings.Contains(first, `"apiVersion":"events.k8s.io/v1"`) {
			t.Errorf("managed fields are %s", first)
		}
		if second := fields(2, func(e *eventsv1.Event) { e.Reason, e.Regarding.Name = "Other", "q" }); second != first {
			t.Errorf("managed fields differ between events: %s, %s", first, second)
		}
		if labelled := fields(3, func(e *eventsv1.Event) { e.Labels = map[string]string{"a": "b"} }); !strings.Contains(labelled, "f:labels") {
			t.Errorf("another event has the managed fields of the first: %s", labelled)
		}
	})
}

const recordEverything = `apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: RequestResponse
  users: [admin]
  resources: [{group: "", resources: [configmaps, pods, pods/binding]}]
- level: None
`

// TestAuditRecords asks the same in both ways: the audit log tells the same.
func TestAuditRecords(t *testing.T) {
	dir := t.TempDir()
	policy, file := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	must(t, os.WriteFile(policy, []byte(recordEverything), 0o600))
	s := apitest.StartWith(t, apitest.Options{Mutate: func(o *controlplane.Options) {
		o.Guard.Audit = audit.Defaults()
		o.Guard.Audit.PolicyFile, o.Guard.Audit.Log.Path, o.Guard.Audit.Log.Send.Mode = policy, file, audit.Blocking
	}})
	var told []string
	read := 0
	for _, w := range ways() {
		c, _ := w.make(t, s)
		talk(t, c)
		data, err := os.ReadFile(file)
		must(t, err)
		told = append(told, records(t, data[read:]))
		read = len(data)
	}
	if diff := cmp.Diff(told[0], told[1]); diff != "" {
		t.Errorf("requests in process are recorded otherwise (-requests +in process):\n%s", diff)
	}
	if n := strings.Count(told[0], "\n"); n < 2*9 {
		t.Errorf("%d records:\n%s", n, told[0])
	}
}

// talk asks for everything once.
func talk(t *testing.T, c client.Client) {
	ctx := t.Context()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "m"}, Data: map[string]string{"a": "b"}}
	must(t, c.Create(ctx, m))
	if err := c.Create(ctx, m.DeepCopy()); err == nil {
		t.Error("created twice")
	}
	must(t, c.Get(ctx, client.ObjectKeyFromObject(m), m))
	must(t, c.List(ctx, &corev1.ConfigMapList{}, client.InNamespace("default")))
	m.Data["a"] = "c"
	must(t, c.Update(ctx, m))
	must(t, c.Patch(ctx, m, client.RawPatch(types.MergePatchType, []byte(`{"data":{"a":"d"}}`))))
	must(t, c.Delete(ctx, m))
	p := pod("default", "p", nil)
	must(t, c.Create(ctx, p))
	must(t, c.SubResource("binding").Create(ctx, p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}))
	must(t, c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0)))
}

// records is what an audit log tells, without what differs between two times.
func records(t *testing.T, log []byte) string {
	var out strings.Builder
	for line := range bytes.Lines(log) {
		var e auditv1.Event
		must(t, json.Unmarshal(line, &e))
		if e.AuditID == "" || e.UserAgent != "contract" || e.RequestReceivedTimestamp.IsZero() {
			t.Errorf("a record without its marks: %s", line)
		}
		uri, _, _ := strings.Cut(e.RequestURI, "?")
		ref, code := corev1.ObjectReference{}, int32(0)
		if e.ObjectRef != nil {
			ref.Namespace, ref.Name, ref.APIVersion = e.ObjectRef.Namespace, e.ObjectRef.Name, e.ObjectRef.APIVersion
			ref.Kind, ref.FieldPath = e.ObjectRef.Resource, e.ObjectRef.Subresource
		}
		if e.ResponseStatus != nil {
			code = e.ResponseStatus.Code
		}
		fmt.Fprintln(&out, e.Stage, e.Level, e.Verb, uri, e.User.Username, ref, code, e.RequestObject != nil, e.ResponseObject != nil)
	}
	return out.String()
}

func TestSubresources(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, _ cache.Cache, ns string) {
		ctx := t.Context()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n-" + ns}}
		must(t, c.Create(ctx, node))
		p := pod(ns, "p", map[string]string{"app": "p"})
		must(t, c.Create(ctx, p))
		must(t, c.SubResource("binding").Create(ctx, p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node.Name}}))
		must(t, c.Get(ctx, client.ObjectKeyFromObject(p), p))
		if p.Spec.NodeName != node.Name {
			t.Fatalf("the pod is on %q, want %q", p.Spec.NodeName, node.Name)
		}
		if err := c.SubResource("binding").Create(ctx, p, &corev1.Binding{Target: corev1.ObjectReference{Name: "elsewhere"}}); !apierrors.IsConflict(err) {
			t.Errorf("binding a bound pod: %v", err)
		}
		changed := p.DeepCopy()
		changed.Status.Phase = corev1.PodRunning
		changed.Spec.NodeName = "elsewhere" // no business of a status writer
		must(t, c.Status().Patch(ctx, changed, client.StrategicMergeFrom(p)))
		if changed.Status.Phase != corev1.PodRunning || changed.Spec.NodeName != node.Name {
			t.Errorf("after the status patch: phase %s on %s", changed.Status.Phase, changed.Spec.NodeName)
		}
		must(t, c.SubResource("eviction").Create(ctx, changed, &policyv1.Eviction{}))

		set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "set"}, Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: p.Spec},
		}}
		set.Spec.Template.Spec.NodeName = ""
		must(t, c.Create(ctx, set))
		set.Status.Replicas = 7
		must(t, c.Status().Update(ctx, set))
		var got appsv1.ReplicaSet
		must(t, c.Get(ctx, client.ObjectKeyFromObject(set), &got))
		if got.Status.Replicas != 7 || got.Generation != 1 {
			t.Errorf("status has %d replicas at generation %d", got.Status.Replicas, got.Generation)
		}
	})
}

func TestListAndDeleteAll(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, _ cache.Cache, ns string) {
		ctx := t.Context()
		for i := range 4 {
			must(t, c.Create(ctx, pod(ns, fmt.Sprintf("p-%d", i), map[string]string{"odd": fmt.Sprint(i % 2)})))
		}
		var list corev1.PodList
		must(t, c.List(ctx, &list, client.InNamespace(ns), client.MatchingLabels{"odd": "1"}))
		if diff := cmp.Diff([]string{"p-1", "p-3"}, names(list)); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		must(t, c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(ns), client.MatchingLabels{"odd": "1"}))
		must(t, c.List(ctx, &list, client.InNamespace(ns)))
		if diff := cmp.Diff([]string{"p-0", "p-2"}, names(list)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	})
}

func TestCacheReads(t *testing.T) {
	run(t, func(t *testing.T, c client.Client, objects cache.Cache, ns string) {
		ctx := t.Context()
		must(t, objects.IndexField(ctx, &corev1.Pod{}, "color", func(obj client.Object) []string {
			return []string{obj.GetLabels()["color"]}
		}))
		must(t, c.Create(ctx, pod(ns, "early", map[string]string{"color": "red"})))
		seen := watch(t, objects, ns)
		start(t, objects)
		must(t, c.Create(ctx, pod(ns, "late", map[string]string{"color": "blue"})))
		seen.await(t, "add early", "add late")

		var got corev1.Pod
		must(t, objects.Get(ctx, client.ObjectKey{Namespace: ns, Name: "late"}, &got))
		got.Labels["color"] = "mine" // a copy: nobody else's
		var list corev1.PodList
		must(t, objects.List(ctx, &list, client.InNamespace(ns), client.MatchingFields{"color": "blue"}))
		if diff := cmp.Diff([]string{"late"}, names(list)); diff != "" {
			t.Errorf("indexed (-want +got):\n%s", diff)
		}
		must(t, objects.List(ctx, &list, client.InNamespace(ns), client.MatchingLabels{"color": "red"}, client.UnsafeDisableDeepCopy))
		if diff := cmp.Diff([]string{"early"}, names(list)); diff != "" {
			t.Errorf("labelled (-want +got):\n%s", diff)
		}
		if err := objects.Get(ctx, client.ObjectKey{Namespace: ns, Name: "none"}, &got); !apierrors.IsNotFound(err) {
			t.Errorf("reading what is not there: %v", err)
		}

		late := pod(ns, "late", nil)
		must(t, c.Get(ctx, client.ObjectKeyFromObject(late), late))
		before := late.DeepCopy()
		late.Labels["color"] = "red"
		must(t, c.Patch(ctx, late, client.MergeFrom(before)))
		seen.await(t, "update late")
		must(t, objects.List(ctx, &list, client.InNamespace(ns), client.MatchingFields{"color": "red"}))
		if diff := cmp.Diff([]string{"early", "late"}, names(list)); diff != "" {
			t.Errorf("indexed anew (-want +got):\n%s", diff)
		}
		if walker, ok := objects.(*inprocess.Cache); ok {
			walks(t, walker, ns)
		}
		must(t, c.Delete(ctx, late))
		seen.await(t, "delete late")
		watch(t, objects, ns).await(t, "add early") // who comes later sees what is there
	})
}

// walks shows the objects that a list copies: the same ones each time.
func walks(t *testing.T, objects *inprocess.Cache, ns string) {
	walk := func() map[string]client.Object {
		var list corev1.PodList
		found := map[string]client.Object{}
		must(t, objects.Walk(t.Context(), &list, func(obj client.Object) { found[obj.GetName()] = obj },
			client.InNamespace(ns), client.MatchingFields{"color": "red"}))
		if len(list.Items) > 0 {
			t.Errorf("%d items were copied", len(list.Items))
		}
		return found
	}
	first, again := walk(), walk()
	if len(first) != 2 || first["early"] == nil || first["late"] == nil {
		t.Errorf("walked over %v", first)
	}
	for name, obj := range first {
		if again[name] != obj {
			t.Errorf("%s was copied", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(list corev1.PodList) []string {
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

// log is what a handler was told.
type log struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func watch(t *testing.T, objects cache.Cache, namespace string) *log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	informer, err := objects.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	must(t, err)
	l := &log{more: make(chan struct{}, 1)}
	tell := func(what string, obj any) {
		p, ok := obj.(*corev1.Pod)
		if !ok || p.Namespace != namespace {
			return
		}
		l.mu.Lock()
		l.lines = append(l.lines, what+" "+p.Name)
		l.mu.Unlock()
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { tell("add", obj) },
		UpdateFunc: func(_, obj any) { tell("update", obj) },
		DeleteFunc: func(obj any) { tell("delete", obj) },
	})
	must(t, err)
	return l
}

// await waits until the lines have come, in this order.
func (l *log) await(t *testing.T, want ...string) {
	t.Helper()
	limit := time.After(patience)
	for {
		l.mu.Lock()
		for len(want) > 0 {
			i := slices.Index(l.lines, want[0])
			if i < 0 {
				break
			}
			l.lines, want = l.lines[i+1:], want[1:]
		}
		l.mu.Unlock()
		if len(want) == 0 {
			return
		}
		select {
		case <-l.more:
		case <-limit:
			t.Fatalf("never told: %v", want)
		}
	}
}
