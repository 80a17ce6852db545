package scheduler

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
)

const (
	writeTimeout  = 30 * time.Second
	lookupTimeout = 5 * time.Second
)

// bind is a decision to be written.
type bind struct {
	pod  *corev1.Pod
	node string
}

// outcome is a bind that failed.
type outcome struct {
	bind
	err error
}

// bindAll writes decisions until ctx ends. None that failed is left unanswered,
// or the pod would count on its node for ever.
//
// Many bindings are under way at once, because the store writes to disk what
// waits at the same time in one go. They are not one transaction: a watcher
// that resumes after a revision must find all of it.
func (s *Scheduler) bindAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-s.binds:
			if err := s.bindOne(ctx, b); err != nil {
				s.mail.Put(mailbox.Change{Object: outcome{b, err}})
				continue
			}
			// The watch tells the loop; until then the pod counts as placed.
			s.recorder.Eventf(b.pod, nil, corev1.EventTypeNormal, "Scheduled", "Binding",
				"Successfully assigned %s/%s to %s", b.pod.Namespace, b.pod.Name, b.node)
		}
	}
}

func (s *Scheduler) bindOne(ctx context.Context, b bind) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.client.SubResource("binding").Create(ctx, b.pod, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.pod.Namespace, Name: b.pod.Name, UID: b.pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node},
	})
}

// readOutcome reports whether a place became free again.
func (s *Scheduler) readOutcome(o outcome) bool {
	if apierrors.IsNotFound(o.err) {
		s.queue.remove(o.pod.UID)
		freed := s.engine.RemovePod(o.pod.UID)
		s.leave(o.pod.UID)
		return freed
	}
	w := s.queue.pods[o.pod.UID]
	if w == nil {
		// The watch has already told that the pod is bound or gone.
		return false
	}
	slog.Warn("pod could not be bound, trying again", "pod", client.ObjectKeyFromObject(o.pod), "node", o.node, "err", o.err)
	s.engine.RemovePod(o.pod.UID)
	s.tryAgain(o.pod.UID, time.Now())
	return true
}

// tryAgain puts a pod that lost its place aside for a while, with its unit where
// it has one.
func (s *Scheduler) tryAgain(uid types.UID, now time.Time) {
	m := s.batch.members[uid]
	if m == nil {
		s.queue.retry(uid, now)
		return
	}
	s.settle(uid)
	u := m.unit
	u.failures++
	u.scheduled = false
	s.batch.park(u, s.pauseOf(u), now)
	u.woken = true
}
