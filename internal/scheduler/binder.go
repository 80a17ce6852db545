package scheduler

import (
	"context"
	"log/slog"
	"sync"
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

// outcome is what became of a bind.
type outcome struct {
	bind
	err error
}

// bindAll writes decisions until ctx ends. It never leaves one unanswered, or
// the pod would count on its node for ever.
func (s *Scheduler) bindAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-s.binds:
			err := s.bindOne(ctx, b)
			if err == nil {
				s.recorder.Eventf(b.pod, nil, corev1.EventTypeNormal, "Scheduled", "Binding",
					"Successfully assigned %s/%s to %s", b.pod.Namespace, b.pod.Name, b.node)
			}
			s.mail.Put(mailbox.Change{Object: outcome{b, err}})
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
	if o.err == nil {
		// The watch will say so too; until then the pod counts as assumed.
		return false
	}
	if apierrors.IsNotFound(o.err) {
		s.queue.remove(o.pod.UID)
		return s.engine.RemovePod(o.pod.UID)
	}
	w := s.queue.pods[o.pod.UID]
	if w == nil {
		// The watch has already told that the pod is bound or gone.
		return false
	}
	slog.Warn("pod could not be bound, trying again", "pod", client.ObjectKeyFromObject(o.pod), "node", o.node, "err", o.err)
	s.engine.RemovePod(o.pod.UID)
	s.queue.retry(o.pod.UID, time.Now())
	return true
}

// teller writes the PodScheduled condition of pods that do not fit. Only the
// latest message of a pod is worth writing, so it keeps one a pod.
type teller struct {
	client client.Client
	ready  chan struct{}

	mu      sync.Mutex
	pending map[types.UID]news // guarded by mu
}

type news struct {
	pod     *corev1.Pod
	message string
}

func newTeller(c client.Client) *teller {
	return &teller{client: c, ready: make(chan struct{}, 1), pending: map[types.UID]news{}}
}

func (t *teller) unschedulable(pod *corev1.Pod, message string) {
	t.mu.Lock()
	t.pending[pod.UID] = news{pod, message}
	t.mu.Unlock()
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *teller) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.ready:
		}
		t.mu.Lock()
		all := t.pending
		t.pending = map[types.UID]news{}
		t.mu.Unlock()
		for _, n := range all {
			if err := t.write(ctx, n); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
				slog.Warn("condition of an unschedulable pod not written", "pod", client.ObjectKeyFromObject(n.pod), "err", err)
			}
		}
	}
}

func (t *teller) write(ctx context.Context, n news) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	changed := n.pod.DeepCopy()
	if !setUnschedulable(&changed.Status, n.message, metav1.Now()) {
		return nil
	}
	return t.client.Status().Patch(ctx, changed, client.StrategicMergeFrom(n.pod))
}

// setUnschedulable sets the condition and reports whether that changed it.
func setUnschedulable(status *corev1.PodStatus, message string, now metav1.Time) bool {
	want := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: now,
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		if c.Type != corev1.PodScheduled {
			continue
		}
		if c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message {
			return false
		}
		if c.Status == want.Status {
			want.LastTransitionTime = c.LastTransitionTime
		}
		want.ObservedGeneration = c.ObservedGeneration
		*c = want
		return true
	}
	status.Conditions = append(status.Conditions, want)
	return true
}
