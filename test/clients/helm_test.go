package clients

import (
	"os"
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
	c := start(t)
	for _, h := range helms {
		helm := program(t, h.pkg)
		t.Run(h.name+" own chart", func(t *testing.T) { ownChart(c.on(t), helm, h.undo) })
		t.Run(h.name+" descheduler", func(t *testing.T) { descheduler(c.on(t), helm) })
		t.Run(h.name+" cert-manager", func(t *testing.T) { certManagerChart(c.on(t), helm) })
	}
}

func ownChart(c *cluster, helm, undo string) {
	release := []string{"web", "testdata/shop", "--namespace", "market"}
	contains(c, c.refused(helm, append([]string{"install", "--create-namespace", "--set", "replicas=many"}, release...)...), "replicas")
	c.run(helm, append([]string{"install", "--create-namespace", "--wait", "--timeout", "2m"}, release...)...)
	contains(c, c.kubectl("logs", "job/web-prepare", "-n", "market"), "prepared revision 1")
	contains(c, c.kubectl("get", "deployment", "web", "-n", "market"), "2/2")
	contains(c, c.run(helm, "test", "web", "--namespace", "market", "--timeout", "2m"), "Succeeded")

	c.run(helm, append([]string{"upgrade", "--wait", "--timeout", "2m", "--set", "greeting=hello,replicas=3"}, release...)...)
	contains(c, c.kubectl("get", "configmap", "web-pages", "-n", "market", "-o", "yaml"), "hello")
	contains(c, c.kubectl("get", "deployment", "web", "-n", "market"), "3/3")

	// An upgrade whose pods never become ready is undone.
	c.refused(helm, append([]string{"upgrade", undo, "--timeout", "25s", "--set", "command={sleep,1000}"}, release...)...)
	contains(c, c.kubectl("get", "deployment", "web", "-n", "market", "-o", "jsonpath={..command}"), "httpd")

	c.run(helm, "rollback", "web", "1", "--wait", "--timeout", "2m", "--namespace", "market")
	contains(c, c.kubectl("get", "deployment", "web", "-n", "market"), "2/2")
	contains(c, c.run(helm, "history", "web", "--namespace", "market"), "Rollback to 1", "superseded", "deployed")
	contains(c, c.run(helm, "list", "--all-namespaces"), "web", "market", "deployed", "shop-1.2.0")
	contains(c, c.run(helm, "get", "manifest", "web", "--namespace", "market"), "kind: Deployment")

	c.run(helm, "uninstall", "web", "--wait", "--namespace", "market")
	c.kubectl("wait", "--for=delete", "pods", "-n", "market", "-l", "app.kubernetes.io/instance=web", "--timeout", "1m")
	left := c.kubectl("get", "deployments,services,configmaps,pods", "-n", "market", "-l", "app.kubernetes.io/instance=web")
	contains(c, left, "No resources found")
	c.kubectl("delete", "namespace", "market", "--timeout", "2m")
}

func descheduler(c *cluster, helm string) {
	chart := filepath.Join(module(c.TB.(*testing.T), "sigs.k8s.io/descheduler@v0.36.0"), "charts", "descheduler")
	args := []string{"descheduler", chart, "--namespace", "kube-system"}
	c.run(helm, append([]string{"install", "--wait", "--set", "suspend=true"}, args...)...)
	contains(c, c.kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "*/2 * * * *", "True")
	c.run(helm, append([]string{"upgrade", "--set", "suspend=true,schedule=0 3 * * *"}, args...)...)
	contains(c, c.kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "0 3 * * *")
	c.run(helm, "rollback", "descheduler", "1", "--namespace", "kube-system")
	contains(c, c.kubectl("get", "cronjob", "descheduler", "-n", "kube-system"), "*/2 * * * *")
	c.run(helm, "uninstall", "descheduler", "--namespace", "kube-system")
	contains(c, c.kubectl("get", "clusterroles", "-l", "app.kubernetes.io/name=descheduler"), "No resources found")
}

// certManagerChart installs a chart that brings definitions, roles and webhooks. Its
// programs do not run, so the webhooks must keep objects out.
func certManagerChart(c *cluster, helm string) {
	chart := filepath.Join(module(c.TB.(*testing.T), "github.com/cert-manager/cert-manager@v1.21.2"), "deploy", "charts", "cert-manager")
	c.run(helm, "install", "cm", chart, "--namespace", "cert-manager", "--create-namespace", "--set", strings.Join([]string{
		"crds.enabled=true", "crds.keep=false", "startupapicheck.enabled=false",
		"replicaCount=0", "webhook.replicaCount=0", "cainjector.replicaCount=0",
	}, ","))
	c.kubectl("wait", "--for=condition=Established", "crd/issuers.cert-manager.io", "--timeout=1m")
	issuer := filepath.Join(c.TempDir(), "issuer.yaml")
	text := "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: own}\nspec: {selfSigned: {}}\n"
	if err := os.WriteFile(issuer, []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
	out, err := c.Kubectl(c.ctx, "apply", "-f", issuer)
	if err == nil {
		c.Errorf("a webhook that nobody answers let an object in:\n%s", out)
	}
	contains(c, out, `failed calling webhook "webhook.cert-manager.io"`)
	c.run(helm, "upgrade", "cm", chart, "--namespace", "cert-manager", "--reuse-values", "--set", "global.logLevel=4")
	c.run(helm, "rollback", "cm", "1", "--namespace", "cert-manager")
	c.run(helm, "uninstall", "cm", "--wait", "--namespace", "cert-manager")
	c.kubectl("wait", "--for=delete", "crd/issuers.cert-manager.io", "--timeout=1m")
	c.kubectl("delete", "namespace", "cert-manager", "--timeout", "2m")
}
