package simnode

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type phase int

const (
	waiting phase = iota // not started yet
	running
	ended
)

// container stands for all containers of one pod. Nodes.mu guards it.
type container struct {
	pod  *corev1.Pod // as the API showed it last
	lost bool        // the API does not show it any more

	state   phase
	starts  int32
	began   time.Time // first start
	started time.Time // last start
	ended   time.Time
	code    int32
	ready   bool
	turned  time.Time // when ready changed
	stopAt  time.Time // when a stop under way is done
	told    *corev1.PodStatus
}

// step is what is to be told to the API server after a look at a pod.
type step struct {
	pod    *corev1.Pod
	status *corev1.PodStatus // nil: it knows
	remove bool
	again  time.Duration
}

// sync brings a pod's containers and what the API server knows of them up to date.
func (n *Nodes) sync(ctx context.Context, uid types.UID) (time.Duration, error) {
	s, ok := n.advance(uid, time.Now())
	if !ok {
		return 0, nil
	}
	api := n.client.CoreV1().Pods(s.pod.Namespace)
	if s.status != nil {
		data, err := patch(s.pod, *s.status)
		if err != nil {
			return 0, fmt.Errorf("encode status: %w", err)
		}
		_, err = api.Patch(ctx, s.pod.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			// The pod is gone or another; the watch tells.
		case err != nil:
			return 0, fmt.Errorf("report pod %s: %w", s.pod.Name, err)
		}
		n.reported(uid, s.status)
	}
	if s.remove {
		now := int64(0)
		err := api.Delete(ctx, s.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("remove pod %s: %w", s.pod.Name, err)
		}
	}
	return s.again, nil
}

func (n *Nodes) reported(uid types.UID, status *corev1.PodStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.pods[uid]; c != nil {
		c.told = status
	}
}

// advance moves the containers on as far as the time allows.
func (n *Nodes) advance(uid types.UID, now time.Time) (step, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.pods[uid]
	if c == nil {
		return step{}, false
	}
	s := step{pod: c.pod}
	over := c.pod.Status.Phase == corev1.PodSucceeded || c.pod.Status.Phase == corev1.PodFailed
	switch {
	case c.lost || c.pod.DeletionTimestamp != nil:
		s.again = n.halt(c, now)
		s.remove = s.again == 0 && !c.lost
	case c.state == waiting && !over:
		n.start(c, now)
		s.again = c.due(now)
	case c.state == running && over: // somebody else said so: it is evicted
		s.again = n.halt(c, now)
	case c.state == running:
		s.again = n.run(c, now)
	}
	if c.lost {
		if s.again == 0 {
			delete(n.pods, uid)
		}
		return s, s.again > 0
	}
	if c.state != waiting && !over {
		if next := c.status(c.pod); c.told == nil || !equality.Semantic.DeepEqual(*c.told, next) {
			s.status = &next
		}
	}
	return s, true
}

// halt stops containers, which takes a moment: how long yet.
func (n *Nodes) halt(c *container, now time.Time) time.Duration {
	if c.state != running {
		return 0
	}
	if c.stopAt.IsZero() {
		c.stopAt = now.Add(n.stop)
	}
	if left := c.stopAt.Sub(now); left > 0 {
		return left
	}
	n.end(c, now, killed)
	return 0
}

func (n *Nodes) start(c *container, now time.Time) {
	c.state, c.started = running, now
	c.starts++
	if c.began.IsZero() {
		c.began = now
	}
	c.turn(read(c.pod).ready, now)
	n.tell(Event{Pod: c.pod, Running: true})
}

func (n *Nodes) end(c *container, now time.Time, code int32) {
	c.state, c.ended, c.code = ended, now, code
	c.turn(false, now)
	n.tell(Event{Pod: c.pod, Code: code})
}

func (n *Nodes) tell(e Event) {
	if n.seen != nil {
		n.seen(e)
	}
}

func (c *container) turn(ready bool, now time.Time) {
	if c.ready != ready || c.turned.IsZero() {
		c.ready, c.turned = ready, now
	}
}

// due is how long the program goes on, zero if for ever.
func (c *container) due(now time.Time) time.Duration {
	p := read(c.pod)
	if _, ends := p.exit(c.starts - 1); !ends {
		return 0
	}
	return max(c.started.Add(p.after).Sub(now), time.Millisecond)
}

// run lets a running program go on: it may have come to its end.
func (n *Nodes) run(c *container, now time.Time) time.Duration {
	p := read(c.pod)
	c.turn(p.ready, now)
	code, ends := p.exit(c.starts - 1)
	switch {
	case !ends:
		return 0
	case now.Before(c.started.Add(p.after)):
		return c.due(now)
	}
	n.end(c, now, code)
	if !restarts(c.pod, code) {
		return 0
	}
	n.start(c, now)
	return c.due(now)
}
