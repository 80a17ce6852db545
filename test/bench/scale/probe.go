package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// probe asks the API what anybody might, again and again, and keeps how long
// the answers took: a read and a write of one ConfigMap.
type probe struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	reads  []time.Duration
	writes []time.Duration
	failed int
}

const probePause = 20 * time.Millisecond

func startProbe(ctx context.Context, client kubernetes.Interface) (*probe, error) {
	ctx, stop := context.WithCancel(ctx)
	maps := client.CoreV1().ConfigMaps(corev1.NamespaceDefault)
	obj, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}, metav1.CreateOptions{})
	if err != nil {
		stop()
		return nil, err
	}
	p := &probe{stop: stop}
	p.done.Go(func() {
		for {
			began := time.Now()
			got, err := maps.Get(ctx, obj.Name, metav1.GetOptions{})
			p.note(&p.reads, time.Since(began), err, ctx)
			if err == nil {
				got.Data = map[string]string{"at": began.String()}
				began = time.Now()
				_, err = maps.Update(ctx, got, metav1.UpdateOptions{})
				p.note(&p.writes, time.Since(began), err, ctx)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(probePause):
			}
		}
	})
	return p, nil
}

func (p *probe) note(to *[]time.Duration, took time.Duration, err error, ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed++
		return
	}
	*to = append(*to, took)
}

// end stops asking.
func (p *probe) end() {
	p.stop()
	p.done.Wait()
}
