package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/batch"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// reporter writes the status of pod groups and queues. Only the latest of each is
// worth writing, so it keeps one.
type reporter struct {
	ready chan struct{}

	mu      sync.Mutex
	pending map[any]func(context.Context) error // guarded by mu
}

func newReporter() *reporter {
	return &reporter{ready: make(chan struct{}, 1), pending: map[any]func(context.Context) error{}}
}

func (r *reporter) put(key any, write func(context.Context) error) {
	r.mu.Lock()
	r.pending[key] = write
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *reporter) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.ready:
		}
		r.mu.Lock()
		all := r.pending
		r.pending = map[any]func(context.Context) error{}
		r.mu.Unlock()
		for key, write := range all {
			bounded, cancel := context.WithTimeout(ctx, writeTimeout)
			if err := client.IgnoreNotFound(write(bounded)); err != nil && ctx.Err() == nil {
				slog.Warn("status not written", "of", fmt.Sprint(key), "err", err)
			}
			cancel()
		}
	}
}

// sayUnit tells the pods of a unit that wait why they do.
func (s *Scheduler) sayUnit(u *batch.Unit, message string) {
	for _, w := range s.batch.Waiting(u) {
		s.say(w, message, engine.Explanation{}, nil)
	}
}

// refuse tells a unit's pods and its group why it has no place.
func (s *Scheduler) refuse(u *batch.Unit, message string) {
	if message == "" || message == u.Told {
		return
	}
	u.Told = message
	s.sayUnit(u, message)
	if g := s.batch.GroupOf(u); g != nil {
		s.reportGroup(g, metav1.Condition{
			Type: schedulingv1beta1.PodGroupInitiallyScheduled, Status: metav1.ConditionFalse,
			Reason: schedulingv1beta1.PodGroupReasonUnschedulable, Message: message, ObservedGeneration: g.Generation,
		})
	}
}

// reportScheduled says of a group that enough of it is placed. That stays true.
func (s *Scheduler) reportScheduled(u *batch.Unit) {
	if g := s.batch.GroupOf(u); g != nil && !u.Scheduled {
		u.Scheduled = true
		s.reportGroup(g, metav1.Condition{
			Type: schedulingv1beta1.PodGroupInitiallyScheduled, Status: metav1.ConditionTrue,
			Reason: "Scheduled", Message: "All required pods of the group have a node", ObservedGeneration: g.Generation,
		})
	}
}

func (s *Scheduler) reportGroup(g *schedulingv1beta1.PodGroup, c metav1.Condition) {
	s.reports.put(client.ObjectKeyFromObject(g), func(ctx context.Context) error {
		var now schedulingv1beta1.PodGroup
		if err := s.cache.Get(ctx, client.ObjectKeyFromObject(g), &now); err != nil {
			return err
		}
		if c.Status == metav1.ConditionFalse && meta.IsStatusConditionTrue(now.Status.Conditions, c.Type) {
			return nil
		}
		changed := now.DeepCopy()
		if !meta.SetStatusCondition(&changed.Status.Conditions, c) {
			return nil
		}
		return s.client.Status().Patch(ctx, changed, client.MergeFrom(&now))
	})
}

// reportQueues writes the status of the queues that have changed.
func (s *Scheduler) reportQueues() {
	for name, status := range s.batch.Changed() {
		s.reports.put(name, func(ctx context.Context) error {
			data, err := json.Marshal(map[string]any{"status": status})
			if err != nil {
				return err
			}
			q := &unstructured.Unstructured{}
			q.SetGroupVersionKind(batchv1.QueueKind())
			q.SetName(name)
			return s.client.Status().Patch(ctx, q, client.RawPatch(types.MergePatchType, data))
		})
	}
}
