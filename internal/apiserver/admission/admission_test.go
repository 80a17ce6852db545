package admission_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func create(t *testing.T, client kubernetes.Interface, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	out, err := client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func refused(t *testing.T, client kubernetes.Interface, p *corev1.Pod, part string) {
	t.Helper()
	_, err := client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), part) {
		t.Errorf("pod %s: got %v, want a refusal that says %q", p.Name, err, part)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPod looks at all that a plain pod is given, and at what is refused.
func TestPod(t *testing.T) {
	s := apitest.Start(t)
	client := s.Clientset()
	p := create(t, client, pod("plain"))
	if p.Spec.ServiceAccountName != "default" || p.Spec.DeprecatedServiceAccount != "default" {
		t.Errorf("account %q, %q", p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount)
	}
	mounts := p.Spec.Containers[0].VolumeMounts
	if len(mounts) != 1 || mounts[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !mounts[0].ReadOnly ||
		len(p.Spec.Volumes) != 1 || p.Spec.Volumes[0].Name != mounts[0].Name || len(p.Spec.Volumes[0].Projected.Sources) != 3 {
		t.Errorf("mounts %+v of volumes %+v", mounts, p.Spec.Volumes)
	}
	if p.Spec.Priority == nil || *p.Spec.Priority != 0 || p.Spec.PreemptionPolicy == nil || *p.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("priority %v, policy %v", p.Spec.Priority, p.Spec.PreemptionPolicy)
	}
	var tolerated []string
	for _, tol := range p.Spec.Tolerations {
		tolerated = append(tolerated, tol.Key)
	}
	if !slices.Equal(tolerated, []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable}) {
		t.Errorf("tolerates %v", tolerated)
	}
	if p.Status.QOSClass == "" || p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Logf("quality %q, restart %q", p.Status.QOSClass, p.Spec.RestartPolicy)
	}

	no := false
	p = create(t, client, pod("alone", func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &no }))
	if len(p.Spec.Volumes) != 0 {
		t.Errorf("a pod that wants no token has %+v", p.Spec.Volumes)
	}
	p = create(t, client, pod("critical", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }))
	if *p.Spec.Priority != 2000001000 {
		t.Errorf("priority %d", *p.Spec.Priority)
	}
	seven := int32(7)
	refused(t, client, pod("own", func(p *corev1.Pod) { p.Spec.Priority = &seven }), "the integer value of priority (7) must not be provided")
	refused(t, client, pod("unknown", func(p *corev1.Pod) { p.Spec.PriorityClassName = "none" }), "no PriorityClass with name none was found")
	refused(t, client, pod("stranger", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "none" }), `error looking up service account default/none: serviceaccount "none" not found`)
	refused(t, client, pod("class", func(p *corev1.Pod) { n := "none"; p.Spec.RuntimeClassName = &n }), `RuntimeClass "none" not found`)
	_, err := client.CoreV1().Pods("nowhere").Create(t.Context(), pod("lost"), metav1.CreateOptions{})
	if !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `namespaces "nowhere" not found`) {
		t.Errorf("a namespace that is not there: %v", err)
	}
	if err := client.CoreV1().Namespaces().Delete(t.Context(), "kube-system", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("kube-system is deleted: %v", err)
	}
}

func TestAccountsGiveSecrets(t *testing.T) {
	s := apitest.Start(t)
	client := s.Clientset()
	must[*corev1.ServiceAccount](t)(client.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Name: "strict", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
		Secrets:          []corev1.ObjectReference{{Name: "mine"}},
	}, metav1.CreateOptions{}))
	use := func(secret string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "strict"
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		}
	}
	p := create(t, client, pod("own", use("mine")))
	if len(p.Spec.ImagePullSecrets) != 1 || p.Spec.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("pulls with %v", p.Spec.ImagePullSecrets)
	}
	refused(t, client, pod("foreign", use("yours")), `volume with secret.secretName="yours" is not allowed because service account strict does not reference that secret`)
}

func TestLimits(t *testing.T) {
	s := apitest.Start(t)
	client := s.Clientset()
	cpu := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
	}
	must[*corev1.LimitRange](t)(client.CoreV1().LimitRanges("default").Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "limits"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Default: cpu("500m"), DefaultRequest: cpu("100m"), Min: cpu("50m"), Max: cpu("1"), MaxLimitRequestRatio: cpu("5"),
		}}},
	}, metav1.CreateOptions{}))
	var p *corev1.Pod
	// The limits are seen a moment after they were made.
	poll(t, func(ctx context.Context) (bool, error) {
		var err error
		p, err = client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: pod("").Spec}, metav1.CreateOptions{})
		return err == nil && len(p.Spec.Containers[0].Resources.Limits) > 0, err
	})
	got := p.Spec.Containers[0].Resources
	if got.Limits.Cpu().String() != "500m" || got.Requests.Cpu().String() != "100m" {
		t.Errorf("given %+v", got)
	}
	if note := p.Annotations["kubernetes.io/limit-ranger"]; note != "LimitRanger plugin set: cpu request for container c; cpu limit for container c" {
		t.Errorf("note %q", note)
	}
	ask := func(request, limit string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: cpu(request), Limits: cpu(limit)}
		}
	}
	refused(t, client, pod("big", ask("500m", "2")), "maximum cpu usage per Container is 1, but limit is 2")
	refused(t, client, pod("small", ask("10m", "50m")), "minimum cpu usage per Container is 50m, but request is 10m")
	refused(t, client, pod("wide", ask("100m", "600m")), "cpu max limit to request ratio per Container is 5, but provided ratio is 6.000000")
	create(t, client, pod("fits", ask("200m", "1")))
}

func poll(t *testing.T, f wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, f); err != nil {
		t.Fatal(err)
	}
}

func TestPodSecurity(t *testing.T) {
	s := apitest.Start(t)
	client := s.Clientset()
	must[*corev1.Namespace](t)(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{}))
	s.Account(t.Context(), "strict")
	_, err := client.CoreV1().Pods("strict").Create(t.Context(), pod("loose"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`) {
		t.Errorf("got %v", err)
	}
	_, err = client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "wrong", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "tight"},
	}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("a level that is none: %v", err)
	}
}

func TestClasses(t *testing.T) {
	s := apitest.Start(t)
	ctx, client := t.Context(), s.Clientset()
	must[*storagev1.StorageClass](t)(client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "x",
	}, metav1.CreateOptions{}))
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	poll(t, func(ctx context.Context) (bool, error) {
		got, err := client.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim, metav1.CreateOptions{})
		if err == nil && !slices.Contains(got.Finalizers, "kubernetes.io/pvc-protection") {
			t.Errorf("finalizers %v", got.Finalizers)
		}
		return err == nil && got.Spec.StorageClassName != nil && *got.Spec.StorageClassName == "fast", err
	})
	must[*networkingv1.IngressClass](t)(client.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "x.io/y"},
	}, metav1.CreateOptions{}))
	poll(t, func(ctx context.Context) (bool, error) {
		got, err := client.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "i-"},
			Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}},
			}},
		}, metav1.CreateOptions{})
		return err == nil && got.Spec.IngressClassName != nil && *got.Spec.IngressClassName == "web", err
	})
	must[*nodev1.RuntimeClass](t)(client.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm",
		Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "yes"}},
	}, metav1.CreateOptions{}))
	p := create(t, client, pod("in-vm", func(p *corev1.Pod) { n := "vm"; p.Spec.RuntimeClassName = &n }))
	if p.Spec.Overhead.Memory().String() != "64Mi" || p.Spec.NodeSelector["vm"] != "yes" {
		t.Errorf("overhead %v, selector %v", p.Spec.Overhead, p.Spec.NodeSelector)
	}
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 10, GlobalDefault: true}
	must[*schedulingv1.PriorityClass](t)(client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}))
	poll(t, func(ctx context.Context) (bool, error) {
		p, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: pod("").Spec}, metav1.CreateOptions{})
		return err == nil && p.Spec.PriorityClassName == "usual" && *p.Spec.Priority == 10, err
	})
	class = &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Value: 20, GlobalDefault: true}
	if _, err := client.SchedulingV1().PriorityClasses().Create(ctx, class, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a second default: %v", err)
	}
}

func TestPolicies(t *testing.T) {
	s := apitest.Start(t)
	ctx, client := t.Context(), s.Clientset()
	fail := admissionregistrationv1.Fail
	rules := &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
		RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
		},
	}}}
	must[*admissionregistrationv1.ValidatingAdmissionPolicy](t)(client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "no-bad-names"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail, MatchConstraints: rules,
			Validations: []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'bad'", Message: "that name is bad"}},
		},
	}, metav1.CreateOptions{}))
	must[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](t)(client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "everywhere"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "no-bad-names", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{}))
	var err error
	poll(t, func(ctx context.Context) (bool, error) {
		_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}, metav1.CreateOptions{DryRun: []string{"All"}})
		return err != nil, nil
	})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'no-bad-names' with binding 'everywhere' denied request: that name is bad") {
		t.Errorf("got %v", err)
	}
	must[*corev1.ConfigMap](t)(client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "good"}}, metav1.CreateOptions{}))
}

func TestTopology(t *testing.T) {
	s := apitest.Start(t)
	ctx, client := t.Context(), s.Clientset()
	must[*corev1.Node](t)(client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "one", Labels: map[string]string{corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r", "other": "x"},
	}}, metav1.CreateOptions{}))
	create(t, client, pod("p"))
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Target: corev1.ObjectReference{Kind: "Node", Name: "one"}}
	if err := client.CoreV1().Pods("default").Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := must[*corev1.Pod](t)(client.CoreV1().Pods("default").Get(ctx, "p", metav1.GetOptions{}))
	if p.Spec.NodeName != "one" || p.Labels[corev1.LabelTopologyZone] != "z" || p.Labels[corev1.LabelTopologyRegion] != "r" || p.Labels["other"] != "" {
		t.Errorf("on %s with %v", p.Spec.NodeName, p.Labels)
	}
}
