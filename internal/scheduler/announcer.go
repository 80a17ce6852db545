package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/client/given"
)

const (
	// announcers is how many events of placements are written at once: few, so
	// that in a rush of pods the bindings come first.
	announcers = 2
	// mostUntold is how many such events may wait, some minutes' worth of the
	// greatest rush; more are dropped, for events are a favour.
	mostUntold = 100_000
)

// announcer tells of placements. Each happens once, so there is nothing to count
// up, and thousands come in a second, so none has a goroutine of its own, as the
// recorder of other events gives them.
type announcer struct {
	client   client.Client
	instance string
	writes   *errands
	untold   atomic.Int64
}

func newAnnouncer(c client.Client) *announcer {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is only told
	}
	return &announcer{client: c, instance: corev1.DefaultSchedulerName + "-" + host, writes: newErrands(announcers)}
}

// tell never waits.
func (a *announcer) tell(b bind, at time.Time) {
	if a.untold.Add(1) > mostUntold {
		a.untold.Add(-1)
		return
	}
	a.writes.give(func(ctx context.Context) {
		defer a.untold.Add(-1)
		if ctx.Err() != nil {
			return
		}
		if err := a.write(ctx, b, at); err != nil && ctx.Err() == nil {
			slog.Debug("event of a placement not written", "pod", client.ObjectKeyFromObject(b.pod), "err", err)
		}
	})
}

// run writes events until ctx ends.
func (a *announcer) run(ctx context.Context) error { return a.writes.run(ctx) }

func (a *announcer) write(ctx context.Context, b bind, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := a.client.Create(ctx, &eventsv1.Event{
		// The name that client-go's recorder gives: pod and time.
		ObjectMeta:          metav1.ObjectMeta{Namespace: b.pod.Namespace, Name: fmt.Sprintf("%s.%x", b.pod.Name, at.UnixNano())},
		EventTime:           metav1.NewMicroTime(at),
		Type:                corev1.EventTypeNormal,
		Reason:              "Scheduled",
		Action:              "Binding",
		ReportingController: cmp.Or(b.pod.Spec.SchedulerName, corev1.DefaultSchedulerName),
		ReportingInstance:   a.instance,
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: b.pod.Namespace, Name: b.pod.Name, UID: b.pod.UID, ResourceVersion: b.pod.ResourceVersion,
		},
		Note: fmt.Sprintf("Successfully assigned %s/%s to %s", b.pod.Namespace, b.pod.Name, b.node),
	}, given.Away{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // its namespace goes
	}
	return err
}
