package authz_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func forbidden(t *testing.T, err error, part string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want a refusal that says %q", err, part)
	}
}

func TestRolesDecide(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	ann := s.ClientsetAs("ann")

	_, err := ann.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	forbidden(t, err, `User "ann" cannot list resource "pods" in API group "" in the namespace "default"`)

	_, err = admin.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ann-edits"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ann"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	apitest.Eventually(t, "ann edits", func() error {
		_, err := ann.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
		return err
	})
	_, err = ann.CoreV1().ConfigMaps("kube-system").List(ctx, metav1.ListOptions{})
	forbidden(t, err, "kube-system")
	_, err = ann.RbacV1().RoleBindings("default").List(ctx, metav1.ListOptions{})
	forbidden(t, err, "rolebindings")
}

func TestNobodyEscalates(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	_, err := admin.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bob-rules"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bob := s.ClientsetAs("bob")
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	apitest.Eventually(t, "bob gives what he has", func() error {
		_, err := bob.RbacV1().Roles("default").Create(ctx, role("reads", pods), metav1.CreateOptions{})
		return err
	})
	nodes := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}
	_, err = bob.RbacV1().Roles("default").Create(ctx, role("more", nodes), metav1.CreateOptions{})
	forbidden(t, err, `{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`)
	_, err = bob.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "root"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}},
	}, metav1.CreateOptions{})
	forbidden(t, err, "attempting to grant RBAC permissions not currently held")
}

func TestRolesComeBack(t *testing.T) {
	dir := t.TempDir()
	s := apitest.StartWith(t, apitest.Options{Dir: dir})
	ctx, admin := t.Context(), s.Clientset()
	view, err := admin.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
	if err != nil || len(view.Rules) == 0 {
		t.Fatalf("view begins with %d rules: %v", len(view.Rules), err)
	}
	if err := admin.RbacV1().ClusterRoles().Delete(ctx, "system:discovery", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kept, err := admin.RbacV1().ClusterRoles().Get(ctx, "system:basic-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s = apitest.StartWith(t, apitest.Options{Dir: dir})
	admin = s.Clientset()
	if _, err := admin.RbacV1().ClusterRoles().Get(ctx, "system:discovery", metav1.GetOptions{}); err != nil {
		t.Errorf("a deleted role did not come back: %v", err)
	}
	same, err := admin.RbacV1().ClusterRoles().Get(ctx, "system:basic-user", metav1.GetOptions{})
	if err != nil || same.ResourceVersion != kept.ResourceVersion {
		t.Errorf("an unchanged role was written again: %v", err)
	}
}

func TestNodesReachWhatTheyRun(t *testing.T) {
	s := apitest.Start(t)
	ctx, admin := t.Context(), s.Clientset()
	node := s.ClientsetAs("system:node:one", "system:nodes")
	for _, name := range []string{"used", "unused"} {
		if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	_, err := node.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
	forbidden(t, err, "no relationship found between node 'one' and this object")
	_, err = admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{
			NodeName:   "one",
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "used"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	apitest.Eventually(t, "the node reads the secret of its pod", func() error {
		_, err := node.CoreV1().Secrets("default").Get(ctx, "used", metav1.GetOptions{})
		return err
	})
	_, err = node.CoreV1().Secrets("default").Get(ctx, "unused", metav1.GetOptions{})
	forbidden(t, err, "no relationship")
	if _, err := node.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=one"}); err != nil {
		t.Error(err)
	}
	_, err = node.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	forbidden(t, err, "can only list/watch pods with spec.nodeName field selector")
	if _, err := node.CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("what the node's network needs: %v", err)
	}
	_, err = node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "two"}}, metav1.CreateOptions{})
	forbidden(t, err, `node "one" is not allowed to modify node "two"`)
	_, err = node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{"node-restriction.kubernetes.io/x": ""}}}, metav1.CreateOptions{})
	forbidden(t, err, "not allowed to set the following labels")
	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
