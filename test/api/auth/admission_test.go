package auth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

func newPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

// warned collects the warnings that a client gets.
type warned []string

func (w *warned) HandleWarningHeader(_ int, _ string, text string) { *w = append(*w, text) }

func TestPodSecurityModes(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	config := write(t, "admission.yaml", `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
    exemptions: {namespaces: [trusted], usernames: [deployer]}
`)
	s := guarded(t, func(g *controlplane.Guard) {
		g.Admission.ConfigFile = config
		g.Audit = audit.Defaults()
		g.Audit.PolicyFile = write(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resources: [{group: '', resources: [pods]}]}]\n")
		g.Audit.Log.Path = log
	})
	ctx := t.Context()
	var heard warned
	admin := rest.CopyConfig(s.Config)
	admin.WarningHandler = &heard
	core := client(t, admin).CoreV1()
	for name, labels := range map[string]map[string]string{
		"trusted": nil, "plain": nil,
		"warned": {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/audit": "restricted"},
	} {
		must[*corev1.Namespace](t)(core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}))
		s.Account(ctx, name)
	}
	privileged := func(p *corev1.Pod) {
		yes := true
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	}
	// The default level of the file holds where no label says otherwise.
	if _, err := core.Pods("plain").Create(ctx, newPod("p", privileged), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "baseline:latest": privileged`) {
		t.Errorf("a privileged pod: %v", err)
	}
	must[*corev1.Pod](t)(core.Pods("trusted").Create(ctx, newPod("p", privileged), metav1.CreateOptions{}))
	allow(t, s, "deployer", rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"pods"}})
	eventually(t, func() error {
		_, err := s.ClientsetAs("deployer").CoreV1().Pods("plain").Create(ctx, newPod("d", privileged), metav1.CreateOptions{})
		return err
	})
	// Warnings and audit annotations let the pod pass.
	heard = nil
	must[*corev1.Pod](t)(core.Pods("warned").Create(ctx, newPod("w"), metav1.CreateOptions{}))
	if !slices.ContainsFunc(heard, func(w string) bool { return strings.Contains(w, `would violate PodSecurity "restricted:latest"`) }) {
		t.Errorf("warnings: %q", heard)
	}
	// A level that pods in the namespace do not meet is warned of, once the admission's
	// cache knows the pods.
	eventually(t, func() error {
		heard = nil
		ns := must[*corev1.Namespace](t)(core.Namespaces().Get(ctx, "warned", metav1.GetOptions{}))
		ns.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
		if _, err := core.Namespaces().Update(ctx, ns, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return err
		}
		if !slices.ContainsFunc(heard, func(w string) bool { return strings.Contains(w, `existing pods in namespace "warned" violate`) }) {
			return fmt.Errorf("warnings for the namespace: %q", heard)
		}
		return nil
	})
	s.Stop()
	annotations := map[string]string{}
	for line := range strings.Lines(string(must[[]byte](t)(os.ReadFile(log)))) {
		var e auditv1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.ObjectRef != nil && e.Stage == auditv1.StageResponseComplete {
			for k, v := range e.Annotations {
				annotations[e.ObjectRef.Namespace+" "+k] = v
			}
		}
	}
	if annotations["trusted pod-security.kubernetes.io/exempt"] != "namespace" ||
		!strings.Contains(annotations["warned pod-security.kubernetes.io/audit-violations"], "restricted:latest") ||
		annotations["plain pod-security.kubernetes.io/enforce-policy"] != "baseline:latest" {
		t.Errorf("recorded: %v", annotations)
	}
}

func TestOptionalPlugins(t *testing.T) {
	s := guarded(t, func(g *controlplane.Guard) {
		g.Admission.Enable = []string{"OwnerReferencesPermissionEnforcement", "ExtendedResourceToleration", "AlwaysPullImages", "DenyServiceExternalIPs"}
		g.Admission.Disable = []string{"DefaultTolerationSeconds"}
	})
	ctx, core := t.Context(), s.Clientset().CoreV1()
	one := resource.MustParse("1")
	pod := must[*corev1.Pod](t)(core.Pods(namespace).Create(ctx, newPod("p", func(p *corev1.Pod) {
		p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"example.com/gpu": one}
	}), metav1.CreateOptions{}))
	if pod.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways {
		t.Errorf("pulled %s", pod.Spec.Containers[0].ImagePullPolicy)
	}
	if len(pod.Spec.Tolerations) != 1 || pod.Spec.Tolerations[0].Key != "example.com/gpu" || pod.Spec.Tolerations[0].Effect != corev1.TaintEffectNoSchedule {
		t.Errorf("tolerates %+v", pod.Spec.Tolerations)
	}
	if _, err := core.Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{
		ExternalIPs: []string{"192.0.2.9"}, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("external addresses: %v", err)
	}

	// Owners: who may update but not delete may not make an object go with
	// another, and who may not finalize an owner may not make it wait.
	owner := must[*corev1.ConfigMap](t)(core.ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}))
	owned := must[*corev1.Secret](t)(core.Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "owned"}}, metav1.CreateOptions{}))
	ref := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}
	may := func(verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{""}, Resources: []string{"secrets"}}
	}
	allow(t, s, "writer", may("get", "create", "update"))
	allow(t, s, "deleter", may("get", "create", "update", "delete"))
	set := func(c kubernetes.Interface, refs ...metav1.OwnerReference) error {
		now, err := c.CoreV1().Secrets(namespace).Get(ctx, owned.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.OwnerReferences = refs
		_, err = c.CoreV1().Secrets(namespace).Update(ctx, now, metav1.UpdateOptions{})
		return err
	}
	eventually(t, func() error { return set(s.ClientsetAs("deleter"), ref) })
	if err := set(s.ClientsetAs("writer")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot set an ownerRef on a resource you can't delete") {
		t.Errorf("the writer: %v", err)
	}
	yes := true
	ref.BlockOwnerDeletion = &yes
	if err := set(s.ClientsetAs("deleter"), ref); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot set blockOwnerDeletion") {
		t.Errorf("the deleter: %v", err)
	}
	if err := set(s.Clientset(), ref); err != nil {
		t.Errorf("the administrator: %v", err)
	}
	bad := controlplane.Guard{}
	bad.Admission.Enable = []string{"PodPreset"}
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), `--enable-admission-plugins: there is no plugin "PodPreset"`) {
		t.Errorf("an unknown plugin: %v", err)
	}
}

func TestRuntimeClassCompletesPods(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	must[*nodev1.RuntimeClass](t)(s.Clientset().NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "sandboxed"}, Handler: "vm",
		Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{"memory": resource.MustParse("64Mi")}},
		Scheduling: &nodev1.Scheduling{
			NodeSelector: map[string]string{"vm": "yes"},
			Tolerations:  []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}},
		},
	}, metav1.CreateOptions{}))
	class := "sandboxed"
	pod := must[*corev1.Pod](t)(s.Clientset().CoreV1().Pods(namespace).Create(ctx, newPod("p", func(p *corev1.Pod) { p.Spec.RuntimeClassName = &class }), metav1.CreateOptions{}))
	if got := pod.Spec.Overhead["memory"]; got.String() != "64Mi" || pod.Spec.NodeSelector["vm"] != "yes" ||
		!slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "vm" }) {
		t.Errorf("overhead %v, selector %v, tolerations %v", pod.Spec.Overhead, pod.Spec.NodeSelector, pod.Spec.Tolerations)
	}
	_, err := s.Clientset().CoreV1().Pods(namespace).Create(ctx, newPod("q", func(p *corev1.Pod) {
		p.Spec.RuntimeClassName = &class
		p.Spec.NodeSelector = map[string]string{"vm": "no"}
	}), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("a selector that contradicts: %v", err)
	}
}

// TestQuotaScopes counts only what a scope selects.
func TestQuotaScopes(t *testing.T) {
	s := apitest.Start(t)
	ctx, core := t.Context(), s.Clientset().CoreV1()
	for scope, name := range map[corev1.ResourceQuotaScope]string{
		corev1.ResourceQuotaScopeBestEffort: "loose", corev1.ResourceQuotaScopeNotBestEffort: "tight",
		corev1.ResourceQuotaScopeTerminating: "short", corev1.ResourceQuotaScopeNotTerminating: "long",
	} {
		must[*corev1.Namespace](t)(core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
		s.Account(ctx, name)
		q := must[*corev1.ResourceQuota](t)(core.ResourceQuotas(name).Create(ctx, &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Name: "q"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("0")}, Scopes: []corev1.ResourceQuotaScope{scope}},
		}, metav1.CreateOptions{}))
		// What a controller would measure.
		q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: corev1.ResourceList{"pods": resource.MustParse("0")}}
		must[*corev1.ResourceQuota](t)(core.ResourceQuotas(name).UpdateStatus(ctx, q, metav1.UpdateOptions{}))
	}
	burstable := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1m")}
	}
	deadline := func(p *corev1.Pod) { n := int64(60); p.Spec.ActiveDeadlineSeconds = &n }
	plain := func(*corev1.Pod) {}
	for _, test := range []struct {
		namespace string
		pod       func(*corev1.Pod)
		refused   bool
	}{
		{"loose", plain, true}, {"loose", burstable, false}, {"tight", plain, false}, {"tight", burstable, true},
		{"short", deadline, true}, {"short", plain, false}, {"long", deadline, false}, {"long", plain, true},
	} {
		eventually(t, func() error {
			_, err := core.Pods(test.namespace).Create(ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: newPod("", test.pod).Spec,
			}, metav1.CreateOptions{})
			switch {
			case test.refused && err == nil:
				return apierrors.NewBadRequest("quota " + test.namespace + " is not known yet")
			case test.refused && strings.Contains(err.Error(), "exceeded quota: q"):
				return nil
			}
			return err
		})
	}
}
