package cluster

import (
	"context"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/client"
	"github.com/sinawi/sinawi/internal/controllers/events"
)

// inProcess returns what scheduler and controllers read and write with: the API
// server's own objects and registry, without requests.
func (s *server) inProcess() (*client.Client, cache.Cache, error) {
	requests, objects, err := clients(s.loopback(), cache.Options{})
	if err != nil {
		return nil, nil, err
	}
	c := client.New(s.control.api, requests, client.Options{
		// Some controllers may give more rights than they have themselves
		// (aggregated roles), so the group is that of administrators.
		User: &user.DefaultInfo{
			Name:   user.KubeControllerManager,
			Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated},
		},
		Manager: "kube-controller-manager",
	})
	return c, client.NewCache(s.control.api, objects, clientgoscheme.Scheme, client.CacheOptions{}), nil
}

// asScheduler is the scheduler's identity.
func asScheduler() client.Options {
	return client.Options{
		User:    &user.DefaultInfo{Name: user.KubeScheduler, Groups: []string{user.AllAuthenticated}},
		Manager: "kube-scheduler",
	}
}

// eventSink writes the scheduler's events.
type eventSink struct{ client crclient.Client }

// Create writes a new event.
func (s eventSink) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	out := event.DeepCopy()
	return out, events.Answer(s.client.Create(ctx, out))
}

// Update replaces an event.
func (s eventSink) Update(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	out := event.DeepCopy()
	return out, events.Answer(s.client.Update(ctx, out))
}

// Patch changes an event, such as the count of its series.
func (s eventSink) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	out := event.DeepCopy()
	if err := s.client.Patch(ctx, out, crclient.RawPatch(types.StrategicMergePatchType, data)); err != nil {
		return nil, events.Answer(err)
	}
	return out, nil
}
