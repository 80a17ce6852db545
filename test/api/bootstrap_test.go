package api

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func TestBootstrapObjectsComeBack(t *testing.T) {
	s := apitest.Start(t)
	c := s.Clientset()
	for _, o := range []struct {
		name   string
		remove func(context.Context) error
		there  func(context.Context) error
	}{
		{
			"the slice of the kubernetes service",
			func(ctx context.Context) error {
				return c.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, "kubernetes", metav1.DeleteOptions{})
			},
			func(ctx context.Context) error {
				_, err := c.DiscoveryV1().EndpointSlices(namespace).Get(ctx, "kubernetes", metav1.GetOptions{})
				return err
			},
		},
		{
			"the kubernetes service",
			func(ctx context.Context) error {
				return c.CoreV1().Services(namespace).Delete(ctx, "kubernetes", metav1.DeleteOptions{})
			},
			func(ctx context.Context) error {
				_, err := c.CoreV1().Services(namespace).Get(ctx, "kubernetes", metav1.GetOptions{})
				return err
			},
		},
		{
			"what extension servers must know",
			func(ctx context.Context) error {
				return c.CoreV1().ConfigMaps("kube-system").Delete(ctx, "extension-apiserver-authentication", metav1.DeleteOptions{})
			},
			func(ctx context.Context) error {
				_, err := c.CoreV1().ConfigMaps("kube-system").Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
				return err
			},
		},
	} {
		if err := o.remove(t.Context()); err != nil {
			t.Fatalf("remove %s: %v", o.name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			return o.there(ctx) == nil, nil
		})
		cancel()
		if err != nil {
			t.Errorf("%s does not come back: %v", o.name, err)
		}
	}
}
