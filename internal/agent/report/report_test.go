package report

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", UID: "u", ResourceVersion: "5"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
}

func start(t *testing.T, client *fake.Clientset) *Writer {
	t.Helper()
	w := New(client, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("waited too long for %s", what)
}

func patches(c *fake.Clientset) (out []string) {
	for _, a := range c.Actions() {
		if p, ok := a.(clienttesting.PatchAction); ok {
			out = append(out, string(p.GetPatch()))
		}
	}
	return out
}

func TestOnlyChangesAreWritten(t *testing.T) {
	p := pod()
	client := fake.NewClientset(p)
	w := start(t, client)
	w.Set(p, p.Status)
	w.Set(p, corev1.PodStatus{Phase: corev1.PodRunning})
	await(t, "a patch", func() bool { return len(patches(client)) == 1 })
	var patch struct {
		Metadata struct{ UID string }
		Status   map[string]any
	}
	if err := json.Unmarshal([]byte(patches(client)[0]), &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.UID != "u" || len(patch.Status) != 1 || patch.Status["phase"] != "Running" {
		t.Errorf("patch is %s", patches(client)[0])
	}
}

func TestNewestStatusWinsAfterFailures(t *testing.T) {
	p := pod()
	client := fake.NewClientset(p)
	var mu sync.Mutex
	failures := 3
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			return true, nil, apierrors.NewInternalError(errors.New("away"))
		}
		return false, nil, nil
	})
	w := start(t, client)
	w.Set(p, corev1.PodStatus{Phase: corev1.PodRunning})
	w.Set(p, corev1.PodStatus{Phase: corev1.PodSucceeded})
	await(t, "the last status", func() bool {
		got, err := client.CoreV1().Pods("default").Get(context.Background(), "p", metav1.GetOptions{})
		return err == nil && got.Status.Phase == corev1.PodSucceeded
	})
}

func TestFinishWritesThenDeletes(t *testing.T) {
	p := pod()
	client := fake.NewClientset(p)
	w := start(t, client)
	w.Finish(p, corev1.PodStatus{Phase: corev1.PodFailed})
	await(t, "the pod's end", func() bool {
		_, err := client.CoreV1().Pods("default").Get(context.Background(), "p", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if len(patches(client)) != 1 {
		t.Errorf("patches: %v", patches(client))
	}
	for _, a := range client.Actions() {
		d, ok := a.(clienttesting.DeleteActionImpl)
		if ok && (*d.DeleteOptions.GracePeriodSeconds != 0 || *d.DeleteOptions.Preconditions.UID != "u") {
			t.Errorf("deleted with %+v", d.DeleteOptions)
		}
	}
}

func TestLatestIsWhatWasWritten(t *testing.T) {
	p := pod()
	client := fake.NewClientset(p)
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		written := pod()
		written.ResourceVersion, written.Status.Phase = "6", corev1.PodRunning
		return true, written, nil
	})
	w := start(t, client)
	w.Set(p, corev1.PodStatus{Phase: corev1.PodRunning})
	await(t, "the written status", func() bool { return w.Latest(p).Status.Phase == corev1.PodRunning })
	newer := pod()
	newer.ResourceVersion, newer.Status.Phase = "7", corev1.PodFailed
	if got := w.Latest(newer); got != newer {
		t.Errorf("a newer version is %+v", got.Status)
	}
	w.Forget(p.UID)
	if got := w.Latest(p); got != p {
		t.Error("a forgotten pod is still known")
	}
}
