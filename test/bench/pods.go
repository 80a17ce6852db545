package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sinawi/sinawi/internal/demo"
	"github.com/sinawi/sinawi/test/bench/figures"
)

const (
	pods      = 20 // in every measurement of pods
	namespace = "default"
)

func podSpec() corev1.PodSpec {
	no, none := false, int64(0)
	return corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		TerminationGracePeriodSeconds: &none,
		Containers: []corev1.Container{{
			Name: "web", Image: demo.ImageName, ImagePullPolicy: corev1.PullNever,
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		}},
	}
}

func (b *bench) create(ctx context.Context, name string) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}}, Spec: podSpec()}
	_, err := b.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

// sequential creates one pod after the other, each when the one before it is
// gone, so that only one is on its way.
func (b *bench) sequential(ctx context.Context) error {
	if err := b.one(ctx, "warm", nil); err != nil { // what the first pod alone pays is not measured
		return err
	}
	var took []time.Duration
	for i := range pods {
		if err := b.one(ctx, fmt.Sprintf("one-%d", i), &took); err != nil {
			return err
		}
	}
	b.table.Add("pod create → Ready, one by one, p50", figures.Milliseconds(figures.Percentile(took, 50)), "≤ 200 ms")
	b.table.Add("pod create → Ready, one by one, p90", figures.Milliseconds(figures.Percentile(took, 90)), "")
	return nil
}

func (b *bench) one(ctx context.Context, name string, took *[]time.Duration) error {
	w, err := b.watch(ctx, "metadata.name="+name, "")
	if err != nil {
		return err
	}
	defer w.Stop()
	began := time.Now()
	if err := b.create(ctx, name); err != nil {
		return err
	}
	if err := awaitPods(ctx, w, 1, ready, nil); err != nil {
		return err
	}
	if took != nil {
		*took = append(*took, time.Since(began))
	}
	if err := b.client.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return awaitPods(ctx, w, 1, nil, nil)
}

func (b *bench) watch(ctx context.Context, fields, labels string) (watch.Interface, error) {
	return b.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields, LabelSelector: labels})
}

// burst creates all pods at once.
func (b *bench) burst(ctx context.Context) error {
	w, err := b.watch(ctx, "", "app=bench")
	if err != nil {
		return err
	}
	defer w.Stop()
	began := time.Now()
	for i := range pods {
		if err := b.create(ctx, fmt.Sprintf("burst-%d", i)); err != nil {
			return err
		}
	}
	var last time.Duration
	if err := awaitPods(ctx, w, pods, ready, func(*corev1.Pod) { last = time.Since(began) }); err != nil {
		return err
	}
	b.table.Add(fmt.Sprintf("burst of %d pods", pods), fmt.Sprintf("%.1f pods/s", pods/last.Seconds()), "≥ 12 pods/s")
	began = time.Now()
	if err := b.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=bench"}); err != nil {
		return err
	}
	if err := awaitPods(ctx, w, pods, nil, nil); err != nil {
		return err
	}
	b.table.Add(fmt.Sprintf("%d pods deleted", pods), figures.Seconds(time.Since(began)), "")
	return nil
}

// deployment measures until every replica is ready. It is left running for the
// measurements that follow.
func (b *bench) deployment(ctx context.Context) error {
	labels := map[string]string{"app": "web"}
	w, err := b.watch(ctx, "", "app=web")
	if err != nil {
		return err
	}
	defer w.Stop()
	replicas := int32(pods)
	began := time.Now()
	_, err = b.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := awaitPods(ctx, w, pods, ready, nil); err != nil {
		return err
	}
	b.table.Add(fmt.Sprintf("deployment of %d → all ready", pods), figures.Seconds(time.Since(began)), "")
	return nil
}
