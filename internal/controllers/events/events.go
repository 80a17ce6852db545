// Package events carries the controllers' events to the API server through the
// client they write with.
//
// It owns the broadcaster's goroutines between Start and the stop it returns.
// Equal events are counted up instead of repeated, and a source that floods is
// dampened, by client-go's rules.
package events

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/client/given"
)

// Start returns a broadcaster whose recorders write through c, and its stop.
func Start(ctx context.Context, c client.Client, log *slog.Logger) (record.EventBroadcaster, func()) {
	// Objects are gone and namespaces closing in the ordinary course of things;
	// events that find no place are for debugging only.
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(log.Handler()).V(4))
	b := record.NewBroadcaster(record.WithContext(ctx))
	watching := b.StartRecordingToSink(sink{ctx: ctx, client: c})
	return b, func() {
		watching.Stop()
		b.Shutdown()
	}
}

// sink is record.EventSink over a client. That interface knows no context, so it
// keeps the one of its broadcaster.
type sink struct {
	ctx    context.Context
	client client.Client
}

func (s sink) Create(event *corev1.Event) (*corev1.Event, error) {
	return write(s.ctx, event, func(ctx context.Context, out *corev1.Event) error { return s.client.Create(ctx, out, given.Away{}) })
}

func (s sink) Update(event *corev1.Event) (*corev1.Event, error) {
	return write(s.ctx, event, func(ctx context.Context, out *corev1.Event) error { return s.client.Update(ctx, out) })
}

func (s sink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	return write(s.ctx, event, func(ctx context.Context, out *corev1.Event) error {
		return s.client.Patch(ctx, out, client.RawPatch(types.StrategicMergePatchType, data))
	})
}

// writeTimeout bounds a write: all events wait for it.
const writeTimeout = 10 * time.Second

func write(ctx context.Context, event *corev1.Event, do func(context.Context, *corev1.Event) error) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	out := event.DeepCopy()
	if err := do(ctx, out); err != nil {
		return nil, Answer(err)
	}
	return out, nil
}

// Answer is the server's answer inside of an error, or the error itself without one. A
// broadcaster looks at an error's own type: for one in words of ours it would hold all
// events back for minutes, as if the server were not there, where the server has said
// that an event is gone.
func Answer(err error) error {
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		return status
	}
	return err
}
