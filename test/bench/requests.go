package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// connections send requests at the same time.
const connections = 16

// requests compares what one client on the node gets through a service and
// straight from one of its pods.
func (b *bench) requests(ctx context.Context) error {
	svc, err := b.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	list, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return err
	}
	pod := "http://" + net.JoinHostPort(list.Items[0].Status.PodIP, "8080") + "/"
	service := "http://" + svc.Spec.ClusterIP + "/"
	if err := b.awaitAnswer(ctx, service); err != nil {
		return err
	}
	for _, keepAlive := range []bool{true, false} {
		direct, err := b.rate(ctx, pod, keepAlive)
		if err != nil {
			return err
		}
		through, err := b.rate(ctx, service, keepAlive)
		if err != nil {
			return err
		}
		how := map[bool]string{true: "kept connections", false: "a new connection each"}[keepAlive]
		b.table.Add("requests straight to a pod, "+how, fmt.Sprintf("%.0f /s", direct), "")
		b.table.Add("requests through the service, "+how, fmt.Sprintf("%.0f /s (%.2f of straight)", through, through/direct), "")
	}
	return nil
}

// http is a client whose connections start on the node.
func (b *bench) http(keepAlive bool) *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: connections,
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				err = b.node.Dial(func() error {
					conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
					return err
				})
				return conn, err
			},
		},
	}
}

func (b *bench) awaitAnswer(ctx context.Context, url string) error {
	client := b.http(false)
	for {
		err := get(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// rate sends requests for a while and returns how many were answered a second.
func (b *bench) rate(ctx context.Context, url string, keepAlive bool) (float64, error) {
	client := b.http(keepAlive)
	defer client.CloseIdleConnections()
	var answered atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, connections)
	began := time.Now()
	for i := range connections {
		group.Go(func() {
			for time.Since(began) < b.load {
				if errs[i] = get(ctx, client, url); errs[i] != nil {
					return
				}
				answered.Add(1)
			}
		})
	}
	group.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}
