package api

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/test/bench/figures"
)

// The two users. Neither is an administrator: those are not queued.
const (
	greedy = "greedy"
	modest = "modest"

	parallel = 64 // lists that the greedy user asks for at a time
)

// fairness measures a client that reads one object after the other, alone and
// beside one that lists everything all the time.
func (b *bench) fairness(ctx context.Context) error {
	what := "a modest client's gets"
	alone, err := b.gets(ctx)
	if err != nil {
		return err
	}
	b.Add(what+" alone, p50 / p99", figures.Milliseconds(figures.Percentile(alone, 50))+" / "+figures.Milliseconds(figures.Percentile(alone, 99)), "")

	greed, stop := context.WithCancel(ctx)
	defer stop()
	var lists, refused atomic.Int64
	var group sync.WaitGroup
	for range parallel {
		c, err := b.server.client(protobuf, greedy)
		if err != nil {
			return err
		}
		group.Go(func() {
			for greed.Err() == nil {
				body, err := c.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").MaxRetries(0).Stream(greed)
				if err != nil {
					if greed.Err() == nil {
						refused.Add(1)
					}
					_ = sleep(greed, 100*time.Millisecond)
					continue
				}
				if _, err = io.Copy(io.Discard, body); err == nil {
					lists.Add(1)
				}
				body.Close()
			}
		})
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	beside, err := b.gets(ctx)
	stop()
	group.Wait()
	if err != nil {
		return err
	}
	b.Add(fmt.Sprintf("%s beside %d parallel lists, p50 / p99", what, parallel), fmt.Sprintf("%s / %s (%d gets, %d lists, %d refused)",
		figures.Milliseconds(figures.Percentile(beside, 50)), figures.Milliseconds(figures.Percentile(beside, 99)), len(beside), lists.Load(), refused.Load()), "")
	return nil
}

// gets reads one object after the other for a while.
func (b *bench) gets(ctx context.Context) ([]time.Duration, error) {
	c, err := b.server.client(protobuf, modest)
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for until := time.Now().Add(b.Load); time.Now().Before(until); {
		began := time.Now()
		if _, err := c.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
