package api

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/lab/labtest"
)

// kubectl runs the real program against one server.
type kubectl struct {
	t       *testing.T
	program *labtest.Kubectl
}

func newKubectl(t *testing.T) *kubectl {
	t.Helper()
	return &kubectl{t: t, program: labtest.NewKubectl(t, apitest.Start(t).Config, "")}
}

func (k *kubectl) run(stdin string, args ...string) (string, error) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), labtest.Patience)
	defer cancel()
	cmd := k.program.Command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// manifest has a list that merges by keys, a resource quantity and several
// kinds in one file.
const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example.com/web:1
        ports: [{containerPort: 8080}]
        resources: {limits: {cpu: 500m, memory: 64Mi}}
`

const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hats.example.com}
spec:
  group: example.com
  names: {plural: hats, singular: hat, kind: Hat, shortNames: [ht]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        description: A hat for a head.
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, maximum: 70, description: Around the head.}}}
`

func hat(size string) string {
	return "apiVersion: example.com/v1\nkind: Hat\nmetadata: {name: bowler, namespace: shop}\nspec: {size: " + size + "}\n"
}

func TestKubectl(t *testing.T) {
	k := newKubectl(t)
	for _, step := range []struct {
		stdin string
		args  string
		want  string // in the output, by |
		fails bool
	}{
		{args: "version", want: "Server Version: v1.37"},
		{args: "cluster-info", want: "control plane"},
		{args: "api-versions", want: "apps/v1|batch/v1|apiextensions.k8s.io/v1|apiregistration.k8s.io/v1"},
		{args: "api-resources", want: "deployments|customresourcedefinitions|poddisruptionbudgets"},
		{args: "get namespaces", want: "default|kube-system|kube-public|kube-node-lease"},
		{args: "get service kubernetes", want: "10.43.0.1|443/TCP"},
		{args: "get priorityclasses", want: "system-node-critical|2000001000"},
		{args: "get clusterroles", want: "cluster-admin"},
		{args: "apply -f -", stdin: manifest, want: "namespace/shop created|service/web created|deployment.apps/web created"},
		{args: "apply -f -", stdin: manifest, want: "deployment.apps/web unchanged|service/web unchanged"},
		{args: "apply --dry-run=server -f -", stdin: strings.Replace(manifest, "web:1", "web:2", 1), want: "web configured (server dry run)"},
		{args: "diff -f -", stdin: strings.Replace(manifest, "web:1", "web:2", 1), want: "+|web:2", fails: true}, // status 1 says that there are differences
		{args: "apply -f -", stdin: strings.Replace(manifest, "replicas: 1", "replicaz: 1", 1), want: `unknown field "spec.replicaz"`, fails: true},
		{args: "apply --server-side --field-manager=other -f -", stdin: strings.Replace(manifest, "web:1", "web:2", 1), want: "conflict", fails: true},
		{args: "apply --server-side --force-conflicts -f -", stdin: strings.Replace(manifest, "web:1", "web:2", 1), want: "deployment.apps/web serverside-applied"},
		{args: "get deployment web -n shop -o wide", want: "READY|UP-TO-DATE|web:2"},
		{args: "get deployment web -n shop -o yaml", want: "imagePullPolicy: IfNotPresent|memory: 64Mi"},
		{args: "get deployment web -n shop -o jsonpath={.spec.replicas}", want: "1"},
		{args: "get all -n shop", want: "service/web|deployment.apps/web"},
		{args: "get deployments -A -l app=web", want: "shop"},
		{args: "describe deployment web -n shop", want: "RollingUpdate|25% max unavailable|64Mi"},
		{args: "scale deployment web -n shop --replicas=3", want: "scaled"},
		{args: "set image deployment/web -n shop web=registry.example.com/web:3", want: "image updated"},
		{args: "label deployment web -n shop tier=front", want: "labeled"},
		{args: "annotate deployment web -n shop note=x", want: "annotated"},
		{args: `patch deployment web -n shop --type=json -p [{"op":"replace","path":"/spec/replicas","value":5}]`, want: "patched"},
		{args: "autoscale deployment web -n shop --min=1 --max=3 --cpu-percent=50", want: "autoscaled"},
		{args: "get hpa web -n shop", want: "Deployment/web"},
		{args: "expose deployment web -n shop --name=other --port=90", want: "exposed"},
		{args: "create configmap c -n shop --from-literal=a=b", want: "created"},
		{args: "create secret generic s -n shop --from-literal=a=b", want: "created"},
		{args: "create serviceaccount robot -n shop", want: "created"},
		{args: "create role r -n shop --verb=get --resource=pods", want: "created"},
		{args: "create rolebinding rb -n shop --role=r --serviceaccount=shop:robot", want: "created"},
		{args: "auth can-i get pods -n shop --as=system:serviceaccount:shop:robot", want: "yes"},
		{args: "auth can-i delete pods -n shop --as=system:serviceaccount:shop:robot", want: "no", fails: true},
		{args: "auth whoami", want: "admin|system:masters"},
		{args: "create token robot -n shop", want: "eyJ"},
		{args: "create job j -n shop --image=registry.example.com/job:1", want: "created"},
		{args: "create cronjob cj -n shop --image=registry.example.com/job:1 --schedule=0_0_*_*_*", want: "created"},
		{args: "create ingress i -n shop --rule=a.example.com/=web:80", want: "created"},
		{args: "create quota q -n shop --hard=pods=50", want: "created"},
		{args: "create pdb p -n shop --selector=app=web --min-available=1", want: "created"},
		{args: "get jobs,cronjobs,ingresses,quota,pdb -n shop", want: "job.batch/j|cronjob.batch/cj|a.example.com"},
		{args: "run one -n shop --image=registry.example.com/one:1 --dry-run=server -o name", want: "service account", fails: true}, // no controller makes the account here
		{args: "apply -f -", stdin: definition, want: "customresourcedefinition.apiextensions.k8s.io/hats.example.com created"},
		{args: "wait --for=condition=Established crd/hats.example.com --timeout=30s", want: "condition met"},
		{args: "explain deployment.spec.strategy", want: "rollingUpdate|FIELDS"},
		{args: "apply -f -", stdin: hat("58"), want: "hat.example.com/bowler created"},
		{args: "apply -f -", stdin: hat("99"), want: "less than or equal to 70", fails: true},
		{args: "get ht -n shop", want: "SIZE|bowler|58"},
		{args: "explain hat.spec", want: "Around the head."},
		{args: "get apiservices v1.apps", want: "Local|True"},
		{args: "get --raw /livez", want: "ok"},
		{args: "get --raw /readyz?verbose", want: "[+]etcd ok|readyz check passed"},
		{args: "get --raw /healthz", want: "ok"},
		{args: "get --raw /metrics", want: "apiserver_request_total"},
		{args: "get --raw /version", want: `"gitVersion": "v1.37`},
		{args: "delete hat bowler -n shop", want: "deleted"},
		{args: "delete crd hats.example.com", want: "deleted"},
		{args: "delete deployment,service --all -n shop", want: "deleted"},
	} {
		args := strings.Fields(step.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		out, err := k.run(step.stdin, args...)
		if (err != nil) != step.fails {
			t.Errorf("kubectl %s: %v\n%s", step.args, err, out)
			continue
		}
		for want := range strings.SplitSeq(step.want, "|") {
			if !strings.Contains(out, want) {
				t.Errorf("kubectl %s: no %q in\n%s", step.args, want, out)
			}
		}
	}
}
