package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const application = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "1"}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  parallelism: 5
  completions: 2
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: c, image: i}]}}
---
apiVersion: example.com/v1
kind: Unknown
metadata: {name: other}
`

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(file, []byte(application), 0o600); err != nil {
		t.Fatal(err)
	}
	app, err := Read([]string{file}, nil, "mine")
	if err != nil {
		t.Fatal(err)
	}
	got := app.Workloads
	fromStdin, err := Read([]string{"-"}, strings.NewReader(application), "mine")
	if err != nil || len(fromStdin.Workloads) != len(got) {
		t.Fatalf("from stdin %+v, %v", fromStdin, err)
	}
	if len(got) != 3 {
		t.Fatalf("workloads are %+v", got)
	}
	if w := got[0]; w.Kind != "Deployment" || w.Namespace != "shop" || w.Count != 3 || w.Selector.MatchLabels["app"] != "web" || w.Pod.Labels["app"] != "web" || w.Pod.Spec.Containers[0].Resources.Requests.Cpu().Value() != 1 {
		t.Errorf("deployment: %+v", w)
	}
	if len(app.Services) != 1 || app.Services[0].Namespace != "mine" || app.Services[0].Spec.Selector["app"] != "web" {
		t.Errorf("services: %+v", app.Services)
	}
	if w := got[1]; w.Namespace != "mine" || w.Count != 2 {
		t.Errorf("job: %+v", w)
	}
	if w := got[2]; !w.PerNode {
		t.Errorf("daemon set: %+v", w)
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a field that is not there": {"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {container: []}\n", `unknown field "spec.container"`},
		"a wrong type":              {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: many}\n", "Deployment d"},
		"no YAML":                   {"{", "stdin"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]string{"-"}, strings.NewReader(tt.text), "default")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want in it %q", err, tt.want)
			}
		})
	}
	if none, err := Read(nil, nil, "default"); err != nil || len(none.Workloads) != 0 {
		t.Errorf("nothing to read: %v, %v", none, err)
	}
	if _, err := Read([]string{"no-such-file.yaml"}, nil, "default"); err == nil || !strings.Contains(err.Error(), "no-such-file.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(application)
	f.Fuzz(func(t *testing.T, text string) {
		app, err := Read([]string{"-"}, strings.NewReader(text), "default")
		if err != nil {
			return
		}
		for _, w := range app.Workloads {
			if w.Pod == nil {
				t.Errorf("%s %s has no pod", w.Kind, w.Name)
			}
		}
	})
}
