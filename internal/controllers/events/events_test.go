package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/events"
)

// forgetful is a client of a server that has forgotten every event that it was told.
type forgetful struct {
	client.Client
	created, patched chan struct{}
}

func (f forgetful) Create(context.Context, client.Object, ...client.CreateOption) error {
	f.created <- struct{}{}
	return nil
}

func (f forgetful) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.PatchOption) error {
	f.patched <- struct{}{}
	return fmt.Errorf("patch: %w", apierrors.NewNotFound(corev1.Resource("events"), obj.GetName()))
}

// TestForgottenEvent: an event that is counted up but is gone is written again, and
// does not hold up the others.
func TestForgottenEvent(t *testing.T) {
	c := forgetful{created: make(chan struct{}, 10), patched: make(chan struct{}, 10)}
	broadcaster, stop := events.Start(t.Context(), c, slog.New(slog.DiscardHandler))
	defer stop()
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "test"})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"}}
	for _, wanted := range []struct {
		reason string
		writes []chan struct{}
	}{
		{"Pulled", []chan struct{}{c.created}},
		{"Pulled", []chan struct{}{c.patched, c.created}},
		{"Started", []chan struct{}{c.created}},
	} {
		recorder.Event(pod, corev1.EventTypeNormal, wanted.reason, "as it is")
		for _, write := range wanted.writes {
			<-write
		}
	}
}

func TestAnswer(t *testing.T) {
	gone := apierrors.NewNotFound(corev1.Resource("events"), "e")
	other := fmt.Errorf("no server")
	for _, tt := range []struct {
		name      string
		err, want error
	}{
		{"none", nil, nil},
		{"of the server", gone, gone},
		{"in other words", fmt.Errorf("patch: %w", gone), gone},
		{"of no server", other, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := events.Answer(tt.err); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
