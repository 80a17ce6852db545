package node

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"pgregory.net/rapid"
)

func local(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

// example has pod a/p on node one, with everything that a pod can refer to, and
// pod a/q on node two.
func example() *Graph {
	g := NewGraph()
	g.gate.Open()
	claim := "claim"
	g.SetPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"},
		Spec: corev1.PodSpec{
			NodeName: "one", ServiceAccountName: "account", ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
			InitContainers: []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("init")}}}}},
			Containers: []corev1.Container{{Env: []corev1.EnvVar{
				{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("env")}}},
				{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("config")}}},
			}}},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("debug")}}},
			}}},
			Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mounted"}}},
				{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("kube-root-ca.crt")}},
				}}}},
				{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}},
		},
	})
	g.SetPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "q"},
		Spec:       corev1.PodSpec{NodeName: "two", ServiceAccountName: "other"},
	})
	g.SetPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "mirror", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
		Spec:       corev1.PodSpec{NodeName: "two", ServiceAccountName: "stolen"},
	})
	g.SetVolume(&corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "a", Name: "data"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				NodeStageSecretRef:         &corev1.SecretReference{Namespace: "csi", Name: "stage"},
				ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "csi", Name: "controller"},
			}},
		},
	})
	g.setOwner(attachments, "va", "one")
	g.setOwner(resourceSlices, "slice", "one")
	return g
}

// ask reads "verb [namespace/]resource[.group][/sub][:name] [field=value]".
func ask(nodeName, s string) authorizer.AttributesRecord {
	words := strings.Fields(s)
	a := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "system:node:" + nodeName, Groups: []string{"system:nodes"}},
		Verb: words[0], ResourceRequest: true,
	}
	target := words[1]
	if ns, rest, ok := strings.Cut(target, "@"); ok {
		a.Namespace, target = ns, rest
	}
	target, a.Name, _ = strings.Cut(target, ":")
	target, a.Subresource, _ = strings.Cut(target, "/")
	a.Resource, a.APIGroup, _ = strings.Cut(target, ".")
	if len(words) > 2 {
		a.FieldSelectorRequirements = fields.ParseSelectorOrDie(words[2]).Requirements()
	}
	return a
}

func TestAuthorize(t *testing.T) {
	rules := []rbacv1.PolicyRule{{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"events"}}}
	a := New(example(), rules)
	for s, want := range map[string]bool{
		"get a@secrets:pull": true, "get a@secrets:init": true, "get a@secrets:env": true, "watch a@secrets:mounted": true,
		"get a@secrets:unused": false, "get b@secrets:pull": false, "list a@secrets": false, "update a@secrets:pull": false, "get a@secrets/x:pull": false,
		"get a@configmaps:config": true, "list a@configmaps:kube-root-ca.crt": true, "get a@configmaps:debug": true, "get a@configmaps:pull": false,
		"get csi@secrets:stage": true, "get csi@secrets:controller": false,
		"get a@persistentvolumeclaims:data": true, "get a@persistentvolumeclaims:p-scratch": true, "list a@persistentvolumeclaims:data": false,
		"patch a@persistentvolumeclaims/status:data": true, "get a@persistentvolumeclaims/status:data": false, "patch a@persistentvolumeclaims/status:other": false,
		"get persistentvolumes:pv": true, "get persistentvolumes:other": false, "delete persistentvolumes:pv": false,
		"get a@resourceclaims.resource.k8s.io:claim": true, "get volumeattachments.storage.k8s.io:va": true, "get volumeattachments.storage.k8s.io:other": false,
		"create a@serviceaccounts/token:account": true, "get a@serviceaccounts:account": true, "create a@serviceaccounts/token:other": false,
		"create a@serviceaccounts:account": false, "create a@serviceaccounts/token": false, "list a@serviceaccounts:account": false,
		"get kube-node-lease@leases.coordination.k8s.io:one": true, "create kube-node-lease@leases.coordination.k8s.io": true,
		"get kube-node-lease@leases.coordination.k8s.io:two": false, "get a@leases.coordination.k8s.io:one": false, "list kube-node-lease@leases.coordination.k8s.io": false,
		"update csinodes.storage.k8s.io:one": true, "create csinodes.storage.k8s.io": true, "update csinodes.storage.k8s.io:two": false, "list csinodes.storage.k8s.io": false,
		"get resourceslices.resource.k8s.io:slice": true, "get resourceslices.resource.k8s.io:other": false, "create resourceslices.resource.k8s.io": true,
		"list resourceslices.resource.k8s.io nodeName=one": true, "list resourceslices.resource.k8s.io nodeName=two": false, "list resourceslices.resource.k8s.io": false,
		"get nodes:one": true, "get nodes:two": false, "list nodes": false, "watch nodes:one": true, "create nodes": true, "patch nodes/status:one": true, "delete nodes:one": false, "get nodes/proxy:one": false,
		"get a@pods:p": true, "get a@pods:q": false, "list pods spec.nodeName=one": true, "watch pods spec.nodeName=two": false, "list pods": false, "list pods spec.nodeName!=one": false,
		"update a@pods/status:p": true, "create a@pods/eviction:p": true, "create a@pods": true, "delete a@pods:p": true, "update a@pods:p": false, "create a@pods/binding:p": false,
		"create a@events": true, "get a@events:x": false, "get deployments.apps:x": false,
	} {
		got, _, err := a.Authorize(context.Background(), ask("one", s))
		if err != nil || (got == authorizer.DecisionAllow) != want || got == authorizer.DecisionDeny {
			t.Errorf("node one: %s: %v %v, want allowed %v", s, got, err, want)
		}
	}
	for _, s := range []string{"get a@secrets:pull", "get persistentvolumes:pv", "get a@pods:p", "create a@serviceaccounts/token:stolen"} {
		if got, _, _ := a.Authorize(context.Background(), ask("two", s)); got != authorizer.DecisionNoOpinion {
			t.Errorf("node two: %s: %v", s, got)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		name, groups, want string
		isNode             bool
	}{
		{"system:node:one", "system:nodes", "one", true},
		{"system:node:", "system:nodes", "", true},
		{"system:node:one", "", "", false},
		{"one", "system:nodes", "", false},
	} {
		got, isNode := Identity(&user.DefaultInfo{Name: c.name, Groups: strings.Fields(c.groups)})
		if got != c.want || isNode != c.isNode {
			t.Errorf("%s (%s): %q %v", c.name, c.groups, got, isNode)
		}
	}
}

// After any history the graph knows what a fresh one made of what is left does.
func TestGraphForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGraph()
		have := map[string]*corev1.Pod{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "pod")
			if rapid.Bool().Draw(t, "delete") {
				g.DeletePod("a", name)
				delete(have, name)
				continue
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}
			pod.Spec.NodeName = rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "node")
			for _, s := range rapid.SliceOf(rapid.SampledFrom([]string{"x", "y"})).Draw(t, "secrets") {
				pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, local(s))
			}
			g.SetPod(pod)
			have[name] = pod
		}
		for _, node := range []string{"one", "two"} {
			for _, secret := range []string{"x", "y"} {
				want := false
				for _, pod := range have {
					want = want || pod.Spec.NodeName == node && slices.Contains(pod.Spec.ImagePullSecrets, local(secret))
				}
				if got := g.related(node, named(secrets, "a", secret)); got != want {
					t.Fatalf("node %s, secret %s: %v, want %v", node, secret, got, want)
				}
			}
		}
		if len(have) == 0 && len(g.uses) != 0 {
			t.Fatalf("no pods left, but %v", g.uses)
		}
	})
}
