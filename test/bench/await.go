package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// pause between two questions to a server that is not there yet; it is the
// precision of the start times.
const pause = 5 * time.Millisecond

// awaitAPI asks until the API is ready and connects to it.
func (b *bench) awaitAPI(ctx context.Context, began time.Time) (time.Duration, error) {
	for {
		cfg, err := b.node.Config()
		if err == nil {
			cfg.QPS = -1
			if b.client, err = kubernetes.NewForConfig(cfg); err != nil {
				return 0, err
			}
			if _, err = b.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
				return time.Since(began), nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("API not ready: %w", err)
		case <-time.After(pause):
		}
	}
}

func (b *bench) awaitNode(ctx context.Context, began time.Time) (time.Duration, error) {
	w, err := b.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		node, ok := e.Object.(*corev1.Node)
		if !ok {
			continue
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return time.Since(began), nil
			}
		}
	}
	return 0, fmt.Errorf("node not ready: %w", context.Cause(ctx))
}

// awaitPods watches pods from a list on and returns when each has been as
// wanted, or gone where gone is set; seen is told the moment of each.
func awaitPods(ctx context.Context, w watch.Interface, n int, wanted func(*corev1.Pod) bool, seen func(*corev1.Pod)) error {
	done := map[string]bool{}
	for len(done) < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods in time: %w", len(done), n, ctx.Err())
		case e, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("watch ended with %d of %d pods", len(done), n)
			}
			pod, ok := e.Object.(*corev1.Pod)
			if !ok || done[pod.Name] {
				continue
			}
			if wanted == nil && e.Type == watch.Deleted || wanted != nil && e.Type != watch.Deleted && wanted(pod) {
				done[pod.Name] = true
				if seen != nil {
					seen(pod)
				}
			}
		}
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
