package services

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
		if addresses := h.Store(networkingv1.GroupName, "ipaddresses"); addresses != nil {
			a.records = &records{store: addresses.Store, log: a.log}
			a.follow(addresses.Store)
		}
		ranges, hooks, err := rangeHooks(h, a)
		if err != nil {
			return plug.Additions{}, err
		}
		return plug.Additions{Hooks: append([]plug.Hook{{
			Name:   "services/allocated",
			Checks: []string{"poststarthook/start-service-ip-repair-controllers"},
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
				if err := ranges.open(); err != nil {
					return err
				}
				a.Load(list.Items)
				return a.repair(genericapirequest.WithNamespace(ctx, metav1.NamespaceNone), list.Items)
			},
		}}, hooks...)}, nil
	}
}

// rangeHooks follow the ServiceCIDR objects where they are served.
func rangeHooks(h *plug.Host, a *Allocator) (*ranges, []plug.Hook, error) {
	if h.Store(networkingv1.GroupName, "servicecidrs") == nil {
		return nil, nil, nil
	}
	informer := h.Informers.Networking().V1().ServiceCIDRs()
	r, err := newRanges(a, h.Client, informer.Informer(), informer.Lister())
	if err != nil {
		return nil, nil, fmt.Errorf("follow service networks: %w", err)
	}
	return r, []plug.Hook{{Name: "services/networks", Run: r.run}}, nil
}
