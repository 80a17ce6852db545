// Package events carries the controllers' events to the API server through the
// client they write with.
//
// It owns the broadcaster's goroutines between Start and the stop it returns.
// Equal events are counted up instead of repeated, and a source that floods is
// dampened, by client-go's rules.
package events

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
	out := event.DeepCopy()
	return out, s.client.Create(s.ctx, out)
}

func (s sink) Update(event *corev1.Event) (*corev1.Event, error) {
	out := event.DeepCopy()
	return out, s.client.Update(s.ctx, out)
}

func (s sink) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	out := event.DeepCopy()
	if err := s.client.Patch(s.ctx, out, client.RawPatch(types.StrategicMergePatchType, data)); err != nil {
		return nil, fmt.Errorf("patch event %s: %w", event.Name, err)
	}
	return out, nil
}
