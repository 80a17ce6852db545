package content_test

import (
	"context"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/agent/content"
	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// told collects the pods that were told of a change.
type told chan types.UID

func (c told) next(t *testing.T) types.UID {
	t.Helper()
	select {
	case uid := <-c:
		return uid
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told of a change")
		return ""
	}
}

func start(t *testing.T, client kubernetes.Interface) (*content.Store, told) {
	t.Helper()
	changed := make(told, 100)
	store := content.New(client, content.Options{Changed: func(uid types.UID) { changed <- uid }})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return store, changed
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}},
			Containers: []corev1.Container{{Name: "c", Image: "x", EnvFrom: []corev1.EnvFromSource{
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}}}}}},
		},
	}
}

func TestStore(t *testing.T) {
	server := apitest.Start(t)
	client := server.Clientset()
	ctx := t.Context()
	store, changed := start(t, client)
	maps := client.CoreV1().ConfigMaps("default")

	if _, err := store.ConfigMap(ctx, "default", "settings"); !apierrors.IsNotFound(err) || err.Error() != `configmap "settings" not found` {
		t.Fatalf("what nobody registered: %v", err)
	}
	store.Register(pod("a"))
	if _, err := store.ConfigMap(ctx, "default", "settings"); !apierrors.IsNotFound(err) || err.Error() != `configmap "settings" not found` {
		t.Fatalf("what is not there: %v", err)
	}
	object, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if uid := changed.next(t); uid != "uid-a" {
		t.Errorf("told %s of what appeared", uid)
	}
	want := func(value string) {
		t.Helper()
		got, err := store.ConfigMap(ctx, "default", "settings")
		if err != nil || got.Data["a"] != value {
			t.Fatalf("got %v %v, want %s", got, err, value)
		}
	}
	want("1")
	store.Register(pod("b"))
	object.Data["a"] = "2"
	if object, err = maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	both := map[types.UID]bool{changed.next(t): true, changed.next(t): true}
	if len(both) != 2 {
		t.Errorf("told %v of the change", both)
	}
	want("2")

	// What changes no content is no change.
	object.Labels = map[string]string{"x": "y"}
	if object, err = maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	store.Unregister("uid-a")
	object.Data["a"] = "3"
	if _, err = maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if uid := changed.next(t); uid != "uid-b" {
		t.Errorf("told %s", uid)
	}
	want("3")

	if err := maps.Delete(ctx, "settings", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := store.ConfigMap(ctx, "default", "settings"); apierrors.IsNotFound(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what was deleted is still shown")
		}
	}
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "4"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed.next(t)
	want("4")
	store.Unregister("uid-b")
	want("4") // read anew
	select {
	case uid := <-changed:
		t.Errorf("told %s of nothing", uid)
	default:
	}
}

func TestImmutable(t *testing.T) {
	client := apitest.Start(t).Clientset()
	store, _ := start(t, client)
	yes := true
	if _, err := client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "login"}, Immutable: &yes, Data: map[string][]byte{"k": []byte("v")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	store.Register(pod("a"))
	got, err := store.Secret(t.Context(), "default", "login")
	if err != nil || string(got.Data["k"]) != "v" {
		t.Fatalf("got %v %v", got, err)
	}
}

// A node reads what its pods refer to, and tokens for their accounts.
func TestAsNode(t *testing.T) {
	server := apitest.Start(t)
	admin, ctx := server.Clientset(), t.Context()
	if _, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := pod("a")
	p.UID, p.Spec.NodeName, p.Spec.ServiceAccountName = "", "n1", "robot"
	bound, err := admin.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store, changed := start(t, server.ClientsetAs("system:node:n1", "system:nodes"))
	store.Register(bound)
	var got *corev1.ConfigMap
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		// The authorizer learns of the pod a moment after it was bound.
		if got, err = store.ConfigMap(ctx, "default", "settings"); err == nil {
			break
		}
		if !apierrors.IsForbidden(err) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	got = got.DeepCopy()
	got.Data["a"] = "2"
	if _, err := admin.CoreV1().ConfigMaps("default").Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if uid := changed.next(t); uid != bound.UID {
		t.Errorf("told %s", uid)
	}
	seconds := int64(600)
	answer, err := store.Token(ctx, "default", "robot", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: bound.Name, UID: bound.UID},
	}})
	if err != nil || answer.Status.Token == "" {
		t.Errorf("a token for the pod's account: %v", err)
	}
	if _, err := store.Secret(ctx, "kube-system", "other"); !apierrors.IsForbidden(err) {
		t.Errorf("a secret of nobody's here: %v", err)
	}
}

func TestPersistentVolume(t *testing.T) {
	client, ctx := apitest.Start(t).Clientset(), t.Context()
	store := content.New(client, content.Options{})
	claims := client.CoreV1().PersistentVolumeClaims("default")
	class := ""
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	pvc, err := claims.Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class, VolumeName: "pv-1", Resources: corev1.VolumeResourceRequirements{Requests: size}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: size,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: "data", UID: pvc.UID}}}
	if _, err := client.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.PersistentVolume(ctx, "default", "data", nil); err == nil || err.Error() != `persistentvolumeclaim "data" is not bound` {
		t.Errorf("before it is bound: %v", err)
	}
	pvc.Status.Phase = corev1.ClaimBound
	if _, err := claims.UpdateStatus(ctx, pvc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := store.PersistentVolume(ctx, "default", "data", nil); err != nil || got.Name != "pv-1" {
		t.Errorf("got %v %v", got, err)
	}
	if _, err := store.PersistentVolume(ctx, "default", "data", pod("a")); err == nil || err.Error() != `persistentvolumeclaim "data" was not created for pod default/a: the pod does not own it` {
		t.Errorf("of another: %v", err)
	}
	if _, err := store.PersistentVolume(ctx, "default", "none", nil); !apierrors.IsNotFound(err) {
		t.Errorf("none: %v", err)
	}
}
