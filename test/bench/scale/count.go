package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// counter follows all pods and says when enough of them are as far as asked.
type counter struct {
	mu     sync.Mutex // guards the fields below
	pods   map[types.UID]seen
	tally  tally
	longer time.Duration // longest time without progress
	last   time.Time     // of progress
	wake   chan struct{} // closed and replaced by every change
}

// seen is what is known of one pod.
type seen struct {
	bound, running, marked bool
	image                  string
}

// tally counts pods.
type tally struct {
	exist, bound, running int
	measured              int            // bound pods that are marked
	images                map[string]int // running pods by their first image
}

func newCounter() *counter {
	return &counter{pods: map[types.UID]seen{}, tally: tally{images: map[string]int{}}, wake: make(chan struct{})}
}

// see is hollow.Options.Observe.
func (c *counter) see(pod *corev1.Pod, deleted bool) {
	now := seen{
		bound:   pod.Spec.NodeName != "",
		running: pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil,
		marked:  pod.Annotations[mark] != "",
		image:   pod.Spec.Containers[0].Image,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.pods[pod.UID]
	if known && before == now && !deleted {
		return
	}
	if known {
		c.add(before, -1)
	}
	if deleted {
		delete(c.pods, pod.UID)
	} else {
		c.pods[pod.UID] = now
		c.add(now, 1)
	}
	if t := time.Now(); !c.last.IsZero() {
		c.longer = max(c.longer, t.Sub(c.last))
		c.last = t
	}
	close(c.wake)
	c.wake = make(chan struct{})
}

// add counts a pod. The caller holds mu.
func (c *counter) add(s seen, n int) {
	c.tally.exist += n
	if s.bound {
		c.tally.bound += n
	}
	if s.bound && s.marked {
		c.tally.measured += n
	}
	if s.running {
		c.tally.running += n
		c.tally.images[s.image] += n
	}
}

// await waits until enough says yes. longest is the longest time without any
// change of a pod meanwhile.
func (c *counter) await(ctx context.Context, what string, enough func(tally) bool) (longest time.Duration, err error) {
	c.mu.Lock()
	c.last, c.longer = time.Now(), 0
	c.mu.Unlock()
	for {
		c.mu.Lock()
		t, wake, longest := c.tally, c.wake, c.longer
		ok := enough(t)
		c.mu.Unlock()
		if ok {
			return longest, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return longest, fmt.Errorf("wait until %s: %w (%d pods exist, %d bound, %d of the measured ones, %d run)", what, ctx.Err(), t.exist, t.bound, t.measured, t.running)
		}
	}
}
