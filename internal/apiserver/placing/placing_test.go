package placing_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

// placer puts pods on a node, but for those that are called "waits".
type placer struct {
	mu     sync.Mutex
	asked  []*corev1.Pod
	stored []*corev1.Pod // nil for one that was not
}

func (p *placer) Place(_ context.Context, pod *corev1.Pod) (string, func(*corev1.Pod)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, pod)
	if pod.Name == "waits" {
		return "", nil
	}
	return "n1", func(stored *corev1.Pod) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stored = append(p.stored, stored.DeepCopy())
	}
}

// take returns who was asked about and what was told since it was called last.
func (p *placer) take() (asked, stored []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, stored = p.asked, p.stored
	p.asked, p.stored = nil, nil
	return asked, stored
}

func start(t *testing.T, change func(*controlplane.Options)) (*placer, kubernetes.Interface) {
	t.Helper()
	p := &placer{}
	s := apitest.StartWith(t, apitest.Options{NoSync: true, Mutate: func(o *controlplane.Options) {
		o.Placer = p
		if change != nil {
			change(o)
		}
	}})
	return p, s.Clientset()
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "example.com/c:1",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
	}}}}
}

func create(t *testing.T, client kubernetes.Interface, p *corev1.Pod, dryRun ...string) *corev1.Pod {
	t.Helper()
	out, err := client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPodIsStoredOnItsNode: a pod that can be placed has its node and the condition of a
// bound pod from its first moment, and whoever placed it knows it as it was stored.
func TestPodIsStoredOnItsNode(t *testing.T) {
	placer, client := start(t, nil)
	events, err := client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	got := create(t, client, pod("p"))
	if got.Spec.NodeName != "n1" {
		t.Errorf("the pod is on node %q, want n1", got.Spec.NodeName)
	}
	if c := got.Status.Conditions; len(c) != 1 || c[0].Type != corev1.PodScheduled || c[0].Status != corev1.ConditionTrue || c[0].LastTransitionTime.IsZero() {
		t.Errorf("conditions are %v, want PodScheduled", c)
	}
	asked, stored := placer.take()
	if len(asked) != 1 || len(stored) != 1 {
		t.Fatalf("asked %d times and told %d times, want once each", len(asked), len(stored))
	}
	switch a := asked[0]; {
	case a.Spec.NodeName != "" || a.UID != got.UID || a.Name != "p" || a.Namespace != "default":
		t.Errorf("asked about %s/%s %s on node %q", a.Namespace, a.Name, a.UID, a.Spec.NodeName)
	case a.Spec.Priority == nil || len(a.Spec.Tolerations) == 0:
		t.Error("asked before admission had filled in what it fills in")
	}
	if s := stored[0]; s.ResourceVersion != got.ResourceVersion || s.Spec.NodeName != "n1" {
		t.Errorf("told of version %s on node %q, want %s on n1", s.ResourceVersion, s.Spec.NodeName, got.ResourceVersion)
	}
	if e := <-events.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.Pod).Spec.NodeName != "n1" {
		t.Errorf("watchers see %v first, want the pod on its node", e)
	}
}

// TestPodHasTheLabelsOfItsNode: a binding copies them, and so does this.
func TestPodHasTheLabelsOfItsNode(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  []string
		want string
	}{{"on", nil, "east-1"}, {"off", []string{"PodTopologyLabels"}, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			_, client := start(t, func(o *controlplane.Options) { o.Guard.Admission.Disable = tt.off })
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelTopologyZone: "east-1"}}}
			if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := create(t, client, pod("p")); got.Spec.NodeName != "n1" || got.Labels[corev1.LabelTopologyZone] != tt.want {
				t.Errorf("on node %q with labels %v, want zone %q", got.Spec.NodeName, got.Labels, tt.want)
			}
		})
	}
}

func TestWhoIsNotPlaced(t *testing.T) {
	placer, client := start(t, nil)
	if got := create(t, client, pod("waits")); got.Spec.NodeName != "" || len(got.Status.Conditions) > 0 {
		t.Errorf("who waits is on node %q with %v", got.Spec.NodeName, got.Status.Conditions)
	}
	if asked, _ := placer.take(); len(asked) != 1 {
		t.Errorf("asked about %d pods, want one", len(asked))
	}
	own := pod("own")
	own.Spec.NodeName = "n2"
	if got := create(t, client, own); got.Spec.NodeName != "n2" {
		t.Errorf("a pod with a node of its own is on node %q", got.Spec.NodeName)
	}
	if got := create(t, client, pod("dry"), metav1.DryRunAll); got.Spec.NodeName != "" {
		t.Errorf("a dry run is on node %q", got.Spec.NodeName)
	}
	if asked, _ := placer.take(); len(asked) > 0 {
		t.Errorf("asked about %s, want about none", asked[0].Name)
	}
}

// TestWhoIsNotStored: who was placed and is not stored gives its place back, and who is
// refused is not placed.
func TestWhoIsNotStored(t *testing.T) {
	placer, client := start(t, nil)
	create(t, client, pod("p"))
	placer.take()
	_, err := client.CoreV1().Pods("default").Create(t.Context(), pod("p"), metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		t.Fatalf("got %v, want that it exists", err)
	}
	if asked, stored := placer.take(); len(asked) != 1 || len(stored) != 1 || stored[0] != nil {
		t.Errorf("asked %d times and told of %v, want once and of none", len(asked), stored)
	}
	strict := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), strict, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := client.CoreV1().ServiceAccounts("strict").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("strict").Create(t.Context(), pod("refused"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if asked, stored := placer.take(); len(asked)+len(stored) > 0 {
		t.Errorf("asked about %d pods that are refused and told of %d", len(asked), len(stored))
	}
}

// TestBindingsThatAreWatched: where a webhook or a policy is to be asked about bindings,
// pods are bound; those that ask about pods change nothing.
func TestBindingsThatAreWatched(t *testing.T) {
	placer, client := start(t, nil)
	rules := func(resources string) []admissionregistrationv1.RuleWithOperations {
		return []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resources}},
		}}
	}
	named := func(resources string) *admissionregistrationv1.MatchResources {
		return &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: rules(resources)[0]}}}
	}
	none, ignore := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Ignore
	url := "https://127.0.0.1:1/"
	at := admissionregistrationv1.WebhookClientConfig{URL: &url}
	meta := metav1.ObjectMeta{Name: "watches"}
	registered := client.AdmissionregistrationV1()
	validating := func(resources string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := registered.ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
				ObjectMeta: meta, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "a.x.io", Rules: rules(resources),
					ClientConfig: at, SideEffects: &none, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}}},
			}, metav1.CreateOptions{})
			return err
		}
	}
	for _, tt := range []struct {
		name   string
		places bool
		make   func(context.Context) error
		remove func(context.Context, string, metav1.DeleteOptions) error
	}{
		{"a mutating webhook for bindings", false, func(ctx context.Context) error {
			_, err := registered.MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
				ObjectMeta: meta, Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "a.x.io", Rules: rules("pods/binding"),
					ClientConfig: at, SideEffects: &none, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}}},
			}, metav1.CreateOptions{})
			return err
		}, registered.MutatingWebhookConfigurations().Delete},
		{"a validating webhook for all of pods", false, validating("pods/*"), registered.ValidatingWebhookConfigurations().Delete},
		{"a validating webhook for pods alone", true, validating("pods"), registered.ValidatingWebhookConfigurations().Delete},
		{"a mutating policy", false, func(ctx context.Context) error {
			_, err := registered.MutatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.MutatingAdmissionPolicy{
				ObjectMeta: meta, Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
					MatchConstraints: named("pods/binding"), ReinvocationPolicy: admissionregistrationv1.NeverReinvocationPolicy,
					Mutations: []admissionregistrationv1.Mutation{{PatchType: admissionregistrationv1.PatchTypeJSONPatch, JSONPatch: &admissionregistrationv1.JSONPatch{
						Expression: `[JSONPatch{op: "add", path: "/metadata/labels", value: {"a": "b"}}]`,
					}}},
				},
			}, metav1.CreateOptions{})
			return err
		}, registered.MutatingAdmissionPolicies().Delete},
		{"a validating policy", false, func(ctx context.Context) error {
			_, err := registered.ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: meta, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
					MatchConstraints: named("*/*"), Validations: []admissionregistrationv1.Validation{{Expression: "true"}},
				},
			}, metav1.CreateOptions{})
			return err
		}, registered.ValidatingAdmissionPolicies().Delete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.make(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := tt.remove(context.Background(), "watches", metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
				await(t, "placed again", func() bool { return placed(t, placer, client) })
			}()
			if tt.places {
				for range 50 { // the server sees the configuration meanwhile
					if !placed(t, placer, client) {
						t.Error("a pod was not placed")
					}
				}
				return
			}
			await(t, "not placed", func() bool { return !placed(t, placer, client) })
		})
	}
}

// placed creates a pod and reports whether it was placed.
func placed(t *testing.T, p *placer, client kubernetes.Interface) bool {
	t.Helper()
	one := pod("")
	one.GenerateName = "p-"
	got := create(t, client, one)
	asked, _ := p.take()
	if (len(asked) > 0) != (got.Spec.NodeName != "") {
		t.Errorf("asked %d times and the pod is on node %q", len(asked), got.Spec.NodeName)
	}
	return got.Spec.NodeName != ""
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("pods are never %s", what)
		}
	}
}

// TestBindingsThatAreRecorded: where an audit log is to tell of bindings, pods are bound.
func TestBindingsThatAreRecorded(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		places      bool
	}{
		{"of all", `[{"level": "Metadata"}]`, false},
		{"of others", `[{"level": "None", "resources": [{"group": "", "resources": ["pods/binding"]}]}, {"level": "Metadata"}]`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			policy := filepath.Join(dir, "policy.yaml")
			if err := os.WriteFile(policy, []byte(`{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": `+tt.rules+`}`), 0o600); err != nil {
				t.Fatal(err)
			}
			placer, client := start(t, func(o *controlplane.Options) {
				o.Guard.Audit = audit.Defaults()
				o.Guard.Audit.PolicyFile, o.Guard.Audit.Log.Path = policy, filepath.Join(dir, "log")
			})
			if got := placed(t, placer, client); got != tt.places {
				t.Errorf("placed: %v, want %v", got, tt.places)
			}
		})
	}
}
