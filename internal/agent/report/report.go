// Package report writes pods' statuses to the API, newest first and once each: a
// status that is overtaken before it was written is never written. It also deletes
// pods whose end the node has to confirm.
//
// It owns its writers' goroutines, within Run. Set and Finish never block. A pod
// is found again by its UID: what is written never reaches a later pod of the same
// name.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
)

const (
	writers      = 4
	writeTimeout = 15 * time.Second
	retryFirst   = 50 * time.Millisecond
	retryMost    = 10 * time.Second
	// pendingDelay holds back what a pod goes through before it runs: most pods run
	// before anyone could have read it.
	pendingDelay = 100 * time.Millisecond
)

// Writer writes statuses.
type Writer struct {
	client kubernetes.Interface
	log    *slog.Logger
	queue  workqueue.TypedRateLimitingInterface[types.UID]

	mu   sync.Mutex // guards the fields below
	pods map[types.UID]*entry
}

// entry is one pod: what shall be written, and what was.
type entry struct {
	// base is the pod as the API has it, as far as known.
	base   *corev1.Pod
	status *corev1.PodStatus // nil: nothing to write
	finish bool              // delete when the status is written
}

// New returns a Writer. Nothing is written before Run.
func New(client kubernetes.Interface, log *slog.Logger) *Writer {
	return &Writer{
		client: client, log: log, pods: map[types.UID]*entry{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](retryFirst, retryMost)),
	}
}

// Set asks for status to be written to pod, which is the newest known to the caller.
func (w *Writer) Set(pod *corev1.Pod, status corev1.PodStatus) { w.put(pod, status, false) }

// Finish asks for status to be written and then for the pod to be deleted at once.
func (w *Writer) Finish(pod *corev1.Pod, status corev1.PodStatus) { w.put(pod, status, true) }

func (w *Writer) put(pod *corev1.Pod, status corev1.PodStatus, finish bool) {
	w.mu.Lock()
	e := w.pods[pod.UID]
	if e == nil {
		e = &entry{}
		w.pods[pod.UID] = e
	}
	e.base = newer(e.base, pod)
	e.finish = e.finish || finish
	e.status = &status
	unchanged := !e.finish && equality.Semantic.DeepEqual(e.base.Status, status)
	if unchanged {
		e.status = nil
	}
	w.mu.Unlock()
	switch {
	case unchanged:
	case status.Phase == corev1.PodPending && !finish:
		w.queue.AddAfter(pod.UID, pendingDelay)
	default:
		w.queue.Add(pod.UID)
	}
}

// Latest returns pod with the newest status that is known of it: the given one,
// or one that was written and that the caller has not seen yet.
func (w *Writer) Latest(pod *corev1.Pod) *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.pods[pod.UID]
	if e == nil || e.base == nil {
		return pod
	}
	latest := newer(e.base, pod)
	if latest == pod {
		return pod
	}
	out := *pod // the spec that the caller knows, the status that was written
	out.Status = latest.Status
	out.ResourceVersion = latest.ResourceVersion
	return &out
}

// Forget drops all that is known of a pod that is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	delete(w.pods, uid)
	w.mu.Unlock()
	w.queue.Forget(uid)
}

// newer returns the later of two versions of a pod.
func newer(a, b *corev1.Pod) *corev1.Pod {
	if a == nil {
		return b
	}
	x, errX := strconv.ParseUint(a.ResourceVersion, 10, 64)
	y, errY := strconv.ParseUint(b.ResourceVersion, 10, 64)
	if errX == nil && errY == nil && x > y {
		return a
	}
	return b
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for range writers {
		running.Go(func() { w.work(ctx) })
	}
	<-ctx.Done()
	w.queue.ShutDown()
	running.Wait()
	return nil
}

func (w *Writer) work(ctx context.Context) {
	for {
		uid, down := w.queue.Get()
		if down {
			return
		}
		err := w.write(ctx, uid)
		if err != nil && ctx.Err() == nil {
			w.log.Warn("pod status not written, trying again", "uid", uid, "err", err)
			w.queue.AddRateLimited(uid)
		} else {
			w.queue.Forget(uid)
		}
		w.queue.Done(uid)
	}
}

func (w *Writer) write(ctx context.Context, uid types.UID) error {
	w.mu.Lock()
	e := w.pods[uid]
	if e == nil {
		w.mu.Unlock()
		return nil
	}
	if e.status != nil && equality.Semantic.DeepEqual(e.base.Status, *e.status) {
		e.status = nil // it was asked for twice
	}
	base, status, finish := e.base, e.status, e.finish
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if status != nil {
		written, err := w.patch(ctx, base, status)
		if gone(err, base) {
			w.Forget(uid)
			return nil
		}
		if err != nil {
			return fmt.Errorf("write status of pod %s/%s: %w", base.Namespace, base.Name, err)
		}
		w.mu.Lock()
		e.base = newer(e.base, written)
		if e.status == status {
			e.status = nil
		}
		again := e.status != nil
		w.mu.Unlock()
		if again && finish {
			w.queue.Add(uid)
			return nil
		}
	}
	if !finish {
		return nil
	}
	return w.remove(ctx, base)
}

func gone(err error, pod *corev1.Pod) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) && pod.UID != "" || apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// patch writes what differs between the pod as it is known and status.
func (w *Writer) patch(ctx context.Context, base *corev1.Pod, status *corev1.PodStatus) (*corev1.Pod, error) {
	before, err := json.Marshal(corev1.Pod{Status: base.Status})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: base.UID}, Status: *status})
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	return w.client.CoreV1().Pods(base.Namespace).Patch(ctx, base.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
}

func (w *Writer) remove(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	err := w.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	w.log.Debug("pod deleted", "namespace", pod.Namespace, "pod", pod.Name, "uid", pod.UID)
	return nil
}
