package services

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Extension plugs an allocator into the services of an API server.
func Extension(opts Options) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		store := h.Store("", "services")
		if store == nil {
			return plug.Additions{}, nil // services are not served
		}
		if opts.Logger == nil {
			opts.Logger = h.Log
		}
		a, err := New(opts)
		if err != nil {
			return plug.Additions{}, err
		}
		a.Hook(store.Store)
		return plug.Additions{Hooks: []plug.Hook{{
			Name: "services/allocated",
			Start: func(ctx context.Context) error {
				all := genericapirequest.WithNamespace(ctx, metav1.NamespaceAll)
				obj, err := store.List(all, &internalversion.ListOptions{})
				if err != nil {
					return fmt.Errorf("count the addresses of services: %w", err)
				}
				list, ok := obj.(*corev1.ServiceList)
				if !ok {
					return errors.New("count the addresses of services: not a list of services")
				}
				a.Load(list.Items)
				return nil
			},
		}}}, nil
	}
}
