package auth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver"]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  verbs: [create, delete]
  resources: [{group: "", resources: [configmaps]}]
- level: Request
  namespaces: [default]
  omitStages: [ResponseStarted]
- level: None
`

func audited(t *testing.T, change func(*audit.Options)) func(*controlplane.Guard) {
	return func(g *controlplane.Guard) {
		g.Audit = audit.Defaults()
		g.Audit.PolicyFile = write(t, "policy.yaml", auditPolicy)
		change(&g.Audit)
	}
}

func TestAuditLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logs", "audit.log")
	s := guarded(t, audited(t, func(o *audit.Options) { o.Log.Path = file }))
	ctx, core := t.Context(), s.Clientset().CoreV1()
	must[*corev1.Secret](t)(core.Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"password": "treasure"}}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(core.ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"colour": "blue"}}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(core.ConfigMaps(namespace).Get(ctx, "c", metav1.GetOptions{}))
	must[*corev1.NodeList](t)(core.Nodes().List(ctx, metav1.ListOptions{}))
	s.Stop()

	if info := must[os.FileInfo](t)(os.Stat(file)); info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the log: %v", info.Mode())
	}
	raw := must[[]byte](t)(os.ReadFile(file))
	if bytes.Contains(raw, []byte("treasure")) {
		t.Error("the log tells a secret")
	}
	var got []string
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.User.Username != "admin" || e.ObjectRef == nil || e.Stage != auditv1.StageResponseComplete || e.AuditID == "" {
			t.Errorf("recorded: %s", lines.Text())
			continue
		}
		if e.ObjectRef.Resource == "serviceaccounts" {
			continue // made by the test's rig
		}
		got = append(got, fmt.Sprintf("%s %s %s request=%v response=%v", e.Level, e.Verb, e.ObjectRef.Resource, e.RequestObject != nil, e.ResponseObject != nil))
	}
	want := []string{
		"Metadata create secrets request=false response=false",
		"RequestResponse create configmaps request=true response=true",
		"Request get configmaps request=false response=false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAuditLogRotates(t *testing.T) {
	dir := t.TempDir()
	s := guarded(t, audited(t, func(o *audit.Options) { o.Log.Path, o.Log.MaxSize = filepath.Join(dir, "audit.log"), 1 }))
	for i := range 4 {
		must[*corev1.ConfigMap](t)(s.Clientset().CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)}, Data: map[string]string{"much": strings.Repeat("x", 300<<10)},
		}, metav1.CreateOptions{}))
	}
	s.Stop()
	files := must[[]string](t)(filepath.Glob(filepath.Join(dir, "audit-*.log")))
	if len(files) == 0 {
		t.Error("after 2 MB of records, a log of 1 MB at most is not rotated")
	}
	for _, f := range append(files, filepath.Join(dir, "audit.log")) {
		if info := must[os.FileInfo](t)(os.Stat(f)); info.Size() > 1<<20 {
			t.Errorf("%s has %d bytes", f, info.Size())
		}
	}
}

func TestAuditWebhook(t *testing.T) {
	var mu sync.Mutex
	var verbs []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range list.Items {
			if e.ObjectRef != nil {
				verbs = append(verbs, e.Verb+" "+e.ObjectRef.Resource)
			}
		}
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(hook.Close) // after the server, which says its last words
	s := guarded(t, audited(t, func(o *audit.Options) {
		o.Webhook.ConfigFile = write(t, "hook.yaml", kubeconfig(hook.URL))
		o.Webhook.Send.MaxWait = time.Second
	}))
	must[*corev1.ConfigMap](t)(s.Clientset().CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}))
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range verbs {
			if v == "create configmaps" {
				return nil
			}
		}
		return fmt.Errorf("the webhook heard of %v", verbs)
	})
}

func TestBadAuditOptions(t *testing.T) {
	policy := write(t, "policy.yaml", auditPolicy)
	for name, test := range map[string]struct {
		change func(*audit.Options)
		want   string
	}{
		"no policy": {func(o *audit.Options) { o.PolicyFile = "" }, "--audit-policy-file"},
		"nowhere":   {func(o *audit.Options) { o.Log.Path = "" }, "--audit-log-path"},
		"missing":   {func(o *audit.Options) { o.PolicyFile = "/none" }, "/none"},
		"unknown level": {func(o *audit.Options) {
			o.PolicyFile = write(t, "p", strings.Replace(auditPolicy, "Metadata", "Some", 1))
		}, "rules[1].level"},
		"mode":    {func(o *audit.Options) { o.Log.Send.Mode = "slow" }, "--audit-log-mode"},
		"size":    {func(o *audit.Options) { o.Log.MaxSize = -1 }, "--audit-log-maxsize"},
		"format":  {func(o *audit.Options) { o.Log.Format = "xml" }, "--audit-log-format"},
		"webhook": {func(o *audit.Options) { o.Webhook.ConfigFile = "/none.kubeconfig" }, "--audit-webhook-config-file /none.kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			o := audit.Defaults()
			o.PolicyFile, o.Log.Path = policy, "-"
			test.change(&o)
			if err := o.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
