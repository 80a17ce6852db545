package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
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
	placed   *mailbox.Mailbox[placement]
	slots    chan struct{} // one token for each that may still wait
}

type placement struct {
	bind
	at time.Time
}

func newAnnouncer(c client.Client) *announcer {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is only told
	}
	return &announcer{
		client: c, instance: corev1.DefaultSchedulerName + "-" + host,
		placed: mailbox.New[placement](), slots: make(chan struct{}, mostUntold),
	}
}

// tell never waits.
func (a *announcer) tell(b bind, at time.Time) {
	select {
	case a.slots <- struct{}{}:
		a.placed.Put(placement{b, at})
	default:
	}
}

// run writes events until ctx ends.
func (a *announcer) run(ctx context.Context) error {
	next := make(chan placement)
	g, ctx := errgroup.WithContext(ctx)
	for range announcers {
		g.Go(func() error {
			for p := range next {
				if err := a.write(ctx, p); err != nil && ctx.Err() == nil {
					slog.Debug("event of a placement not written", "pod", client.ObjectKeyFromObject(p.pod), "err", err)
				}
				<-a.slots
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(next)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-a.placed.Ready():
			}
			for _, p := range a.placed.Take() {
				select {
				case <-ctx.Done():
					return nil
				case next <- p:
				}
			}
		}
	})
	return g.Wait()
}

func (a *announcer) write(ctx context.Context, p placement) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	controller := p.pod.Spec.SchedulerName
	if controller == "" {
		controller = corev1.DefaultSchedulerName
	}
	err := a.client.Create(ctx, &eventsv1.Event{
		// The name that client-go's recorder gives: pod and time.
		ObjectMeta:          metav1.ObjectMeta{Namespace: p.pod.Namespace, Name: fmt.Sprintf("%s.%x", p.pod.Name, p.at.UnixNano())},
		EventTime:           metav1.NewMicroTime(p.at),
		Type:                corev1.EventTypeNormal,
		Reason:              "Scheduled",
		Action:              "Binding",
		ReportingController: controller,
		ReportingInstance:   a.instance,
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: p.pod.Namespace, Name: p.pod.Name, UID: p.pod.UID, ResourceVersion: p.pod.ResourceVersion,
		},
		Note: fmt.Sprintf("Successfully assigned %s/%s to %s", p.pod.Namespace, p.pod.Name, p.node),
	})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil // its namespace goes
	}
	return err
}
