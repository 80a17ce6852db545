package loop_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// late is a cache that has nodes later than pods.
type late struct {
	cache.Cache
	pods, nodes informer
	ready       chan struct{}
}

func (l *late) GetInformer(ctx context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	if _, isNode := obj.(*corev1.Node); !isNode {
		return l.pods, nil
	}
	select {
	case <-l.ready:
		return l.nodes, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *late) WaitForCacheSync(context.Context) bool { return true }

// informer hands its handler over.
type informer struct {
	cache.Informer
	handler chan toolscache.ResourceEventHandler
}

func (i informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	i.handler <- h
	return synced{}, nil
}

type synced struct {
	toolscache.ResourceEventHandlerRegistration
}

func (synced) HasSynced() bool { return true }

// No change is looked at before all kinds are watched: what it depends on could
// change unseen.
func TestChangesWaitForAllWatches(t *testing.T) {
	handlers := func() informer { return informer{handler: make(chan toolscache.ResourceEventHandler, 1)} }
	caches := &late{pods: handlers(), nodes: handlers(), ready: make(chan struct{})}
	done, looked := make(chan loop.Key, 1), make(chan struct{}, 1)
	l := loop.New("test", 1, loop.Deps{Cache: caches, Log: slog.New(slog.DiscardHandler)}, func(_ context.Context, key loop.Key) (time.Duration, error) {
		done <- key
		return 0, nil
	})
	l.Watch(&corev1.Pod{}, func(pod client.Object) []loop.Key {
		looked <- struct{}{}
		return loop.Self(pod)
	})
	l.WatchSelf(&corev1.Node{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()

	pods := <-caches.pods.handler
	go pods.OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}, true)
	select {
	case <-looked:
		t.Error("the pod was looked at before nodes were watched")
	case <-time.After(50 * time.Millisecond):
	}
	close(caches.ready)
	select {
	case key := <-done:
		if key.Name != "web" {
			t.Errorf("reconciled %v", key)
		}
	case <-time.After(time.Minute):
		t.Error("the pod was never reconciled")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A loop that ends before all kinds are watched leaves nobody waiting.
func TestEndBeforeAllWatches(t *testing.T) {
	caches := &late{pods: informer{handler: make(chan toolscache.ResourceEventHandler, 1)}, ready: make(chan struct{})}
	l := loop.New("test", 1, loop.Deps{Cache: caches, Log: slog.New(slog.DiscardHandler)}, func(context.Context, loop.Key) (time.Duration, error) {
		return 0, nil
	})
	l.WatchSelf(&corev1.Pod{})
	l.WatchSelf(&corev1.Node{})
	ctx, cancel := context.WithCancel(t.Context())
	ended, told := make(chan error, 1), make(chan struct{})
	go func() { ended <- l.Run(ctx) }()
	pods := <-caches.pods.handler
	go func() {
		defer close(told)
		pods.OnAdd(&corev1.Pod{}, true)
	}()
	cancel()
	for _, end := range []func(){func() { <-ended }, func() { <-told }} {
		over := make(chan struct{})
		go func() { end(); close(over) }()
		select {
		case <-over:
		case <-time.After(time.Minute):
			t.Fatal("it goes on")
		}
	}
}

// What fails is tried again after twice the time each time, up to the most.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		tries := make(chan time.Duration, 10)
		l := loop.New("test", 1, loop.Deps{Log: slog.New(slog.DiscardHandler)}, func(context.Context, loop.Key) (time.Duration, error) {
			tries <- time.Since(begin)
			return 0, errors.New("not yet")
		})
		l.Retry(time.Second, 4*time.Second)
		l.Begin(loop.Key{Name: "a"})
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		var got []time.Duration
		for range 5 {
			got = append(got, <-tries)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 11 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("tried at %v, want %v", got, want)
		}
	})
}
