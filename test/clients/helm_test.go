package clients

import (
	"path/filepath"
	"strings"
	"testing"
)

// helms are the programs, with the flag that undoes an upgrade that fails.
var helms = []struct{ name, pkg, undo string }{
	{"helm 3", "helm.sh/helm/v3/cmd/helm", "--atomic"},
	{"helm 4", "helm.sh/helm/v4/cmd/helm", "--rollback-on-failure"},
}

// TestHelm does with each Helm what people do with charts: install, upgrade, roll
// back, uninstall, with hooks, tests and charts that bring definitions.
func TestHelm(t *testing.T) {
	programs := map[string]string{}
	for _, h := range helms {
		programs[h.name] = program(t, h.pkg)
	}
	server := metricsServerImage(t)
	c := start(t)
	c.Import(server)
	for _, h := range helms {
		helm := programs[h.name]
		t.Run(h.name+" own chart", func(t *testing.T) { ownChart(c.on(t), helm, h.undo) })
		t.Run(h.name+" descheduler", func(t *testing.T) { descheduler(c.on(t), helm) })
		t.Run(h.name+" metrics-server", func(t *testing.T) { metricsServer(c.on(t), helm) })
		t.Run(h.name+" cert-manager", func(t *testing.T) { certManagerChart(c.on(t), helm) })
	}
}

func ownChart(c *cluster, helm, undo string) {
	release := []string{"web", "testdata/shop", "--namespace", "market"}
	c.Contains(c.Fails(helm, append([]string{"install", "--create-namespace", "--set", "replicas=many"}, release...)...), "replicas")
	c.Run(helm, append([]string{"install", "--create-namespace", "--wait", "--timeout", "2m"}, release...)...)
	c.Contains(c.Kubectl("logs", "job/web-prepare", "-n", "market"), "prepared revision 1")
	c.Contains(c.Kubectl("get", "deployment", "web", "-n", "market"), "2/2")
	c.Contains(c.Run(helm, "test", "web", "--namespace", "market", "--timeout", "2m"), "Succeeded")

	c.Run(helm, append([]string{"upgrade", "--wait", "--timeout", "2m", "--set", "greeting=hello,replicas=3"}, release...)...)
	c.Contains(c.Kubectl("get", "configmap", "web-pages", "-n", "market", "-o", "yaml"), "hello")
	c.Contains(c.Kubectl("get", "deployment", "web", "-n", "market"), "3/3")

	// An upgrade whose pods never become ready is undone.
	c.Fails(helm, append([]string{"upgrade", undo, "--timeout", "25s", "--set", "command={sleep,1000}"}, release...)...)
	c.Contains(c.Kubectl("get", "deployment", "web", "-n", "market", "-o", "jsonpath={..command}"), "httpd")

	c.Run(helm, "rollback", "web", "1", "--wait", "--timeout", "2m", "--namespace", "market")
	c.Contains(c.Kubectl("get", "deployment", "web", "-n", "market"), "2/2")
	c.Contains(c.Run(helm, "history", "web", "--namespace", "market"), "Rollback to 1", "superseded", "deployed")
	c.Contains(c.Run(helm, "list", "--all-namespaces"), "web", "market", "deployed", "shop-1.2.0")
	c.Contains(c.Run(helm, "get", "manifest", "web", "--namespace", "market"), "kind: Deployment")

	c.Run(helm, "uninstall", "web", "--wait", "--namespace", "market")
	c.Kubectl("wait", "--for=delete", "pods", "-n", "market", "-l", "app.kubernetes.io/instance=web", "--timeout", "1m")
	left := c.Kubectl("get", "deployments,services,configmaps,pods", "-n", "market", "-l", "app.kubernetes.io/instance=web")
	c.Contains(left, "No resources found")
	c.Kubectl("delete", "namespace", "market", "--timeout", "2m")
}

func descheduler(c *cluster, helm string) {
	chart := filepath.Join(module(c.TB, "sigs.k8s.io/descheduler@v0.36.0"), "charts", "descheduler")
	args := []string{"descheduler", chart, "--namespace", "kube-system"}
	c.Run(helm, append([]string{"install", "--wait", "--set", "suspend=true"}, args...)...)
	c.Contains(c.Kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "*/2 * * * *", "True")
	c.Run(helm, append([]string{"upgrade", "--set", "suspend=true,schedule=0 3 * * *"}, args...)...)
	c.Contains(c.Kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "0 3 * * *")
	c.Run(helm, "rollback", "descheduler", "1", "--namespace", "kube-system")
	c.Contains(c.Kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "*/2 * * * *")
	c.Run(helm, "uninstall", "descheduler", "--namespace", "kube-system")
	c.Contains(c.Kubectl("get", "clusterroles", "-l", "app.kubernetes.io/name=descheduler"), "No resources found")
}

// certManagerChart installs a chart that brings definitions, roles and webhooks. Its
// programs do not run, so the webhooks must keep objects out.
func certManagerChart(c *cluster, helm string) {
	chart := filepath.Join(module(c.TB, "github.com/cert-manager/cert-manager@v1.21.2"), "deploy", "charts", "cert-manager")
	c.Run(helm, "install", "cm", chart, "--namespace", "cert-manager", "--create-namespace", "--set", strings.Join([]string{
		"crds.enabled=true", "crds.keep=false", "startupapicheck.enabled=false",
		"replicaCount=0", "webhook.replicaCount=0", "cainjector.replicaCount=0",
	}, ","))
	c.Kubectl("wait", "--for=condition=Established", "crd/issuers.cert-manager.io", "--timeout=1m")
	// A webhook that nobody answers lets nothing in.
	issuer := c.File("apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: own}\nspec: {selfSigned: {}}\n")
	c.Contains(c.Denied("apply", "-f", issuer), `failed calling webhook "webhook.cert-manager.io"`)
	c.Run(helm, "upgrade", "cm", chart, "--namespace", "cert-manager", "--reuse-values", "--set", "global.logLevel=4")
	c.Run(helm, "rollback", "cm", "1", "--namespace", "cert-manager")
	c.Run(helm, "uninstall", "cm", "--wait", "--namespace", "cert-manager")
	c.Kubectl("wait", "--for=delete", "crd/issuers.cert-manager.io", "--timeout=1m")
	c.Kubectl("delete", "namespace", "cert-manager", "--timeout", "2m")
}
