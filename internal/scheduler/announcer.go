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
	// announcers is how many events of placements are written at once.
	announcers = 2
	// mostUntold is how many such events may wait, some minutes' worth of the
	// greatest rush; more are dropped, for events are a favour.
	mostUntold = 100_000
	// In a rush of pods their placements come first: while there has been one within
	// calm and more than few events wait, an event is written every so often.
	calm  = 50 * time.Millisecond
	few   = 64
	often = 5 * time.Millisecond
)

// announcer tells of placements. Each happens once, so there is nothing to count
// up, and thousands come in a second, so none has a goroutine of its own, as the
// recorder of other events gives them.
type announcer struct {
	client   client.Client
	instance string
	writes   *errands
	untold   atomic.Int64
	last     atomic.Int64 // when there was a placement, in nanoseconds since 1970
}

// placement is what is told.
type placement struct {
	pod  corev1.ObjectReference
	by   string // the pod's schedulerName
	node string
	at   time.Time
}

func newAnnouncer(c client.Client) *announcer {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is only told
	}
	a := &announcer{client: c, instance: corev1.DefaultSchedulerName + "-" + host, writes: newErrands(announcers)}
	a.writes.pace = a.pace
	return a
}

// tell never waits.
func (a *announcer) tell(pod *corev1.Pod, node string, at time.Time) {
	a.last.Store(at.UnixNano())
	if a.untold.Add(1) > mostUntold {
		a.untold.Add(-1)
		return
	}
	p := placement{by: cmp.Or(pod.Spec.SchedulerName, corev1.DefaultSchedulerName), node: node, at: at, pod: corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}}
	a.writes.give(func(ctx context.Context) {
		defer a.untold.Add(-1)
		if ctx.Err() != nil {
			return
		}
		if err := a.write(ctx, p); err != nil && ctx.Err() == nil {
			slog.Debug("event of a placement not written", "pod", p.pod.Namespace+"/"+p.pod.Name, "err", err)
		}
	})
}

// run writes events until ctx ends.
func (a *announcer) run(ctx context.Context) error { return a.writes.run(ctx) }

// pace has an event wait in a rush.
func (a *announcer) pace(ctx context.Context) {
	if ctx.Err() != nil || !a.rush(time.Now()) {
		return
	}
	pause := time.NewTimer(often)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}

// rush reports whether events have to wait for placements.
func (a *announcer) rush(now time.Time) bool {
	return a.untold.Load() > few && now.UnixNano()-a.last.Load() < int64(calm)
}

func (a *announcer) write(ctx context.Context, p placement) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := a.client.Create(ctx, &eventsv1.Event{
		// The name that client-go's recorder gives: pod and time.
		ObjectMeta:          metav1.ObjectMeta{Namespace: p.pod.Namespace, Name: fmt.Sprintf("%s.%x", p.pod.Name, p.at.UnixNano())},
		EventTime:           metav1.NewMicroTime(p.at),
		Type:                corev1.EventTypeNormal,
		Reason:              "Scheduled",
		Action:              "Binding",
		ReportingController: p.by,
		ReportingInstance:   a.instance,
		Regarding:           p.pod,
		Note:                fmt.Sprintf("Successfully assigned %s/%s to %s", p.pod.Namespace, p.pod.Name, p.node),
	}, given.Away{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // its namespace goes
	}
	return err
}
