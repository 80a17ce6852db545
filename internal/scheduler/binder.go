package scheduler

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
			s.announce.tell(b.pod, b.node, time.Now())
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
