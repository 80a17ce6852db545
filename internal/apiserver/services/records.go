package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// What tells our records from addresses that people keep for themselves.
const (
	labelManagedBy = "ipaddress.kubernetes.io/managed-by"
	labelFamily    = "ipaddress.kubernetes.io/ip-family"
	manager        = "ipallocator.k8s.io"
)

// recordTimeout bounds a write that follows a service's write.
const recordTimeout = 10 * time.Second

// records are the IPAddress objects: one per address that a service has, by
// which everybody sees what is taken, and which several API servers cannot
// both make. A nil one records nothing.
type records struct {
	store   *genericregistry.Store
	log     *slog.Logger
	leaving sync.Map // netip.Addr of records that this package is removing
}

// own marks the writes of this package.
type own struct{}

func isOwn(ctx context.Context) bool { return ctx.Value(own{}) != nil }

// detached is for writes that have to follow though the request is over.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(context.WithoutCancel(ctx), own{}, true)
	return context.WithTimeout(genericapirequest.WithNamespace(ctx, metav1.NamespaceNone), recordTimeout)
}

func record(ip netip.Addr, service *networkingv1.ParentReference) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name:   ip.String(),
			Labels: map[string]string{labelFamily: string(familyOf(ip)), labelManagedBy: manager},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: service},
	}
}

func parent(s *corev1.Service) *networkingv1.ParentReference {
	return &networkingv1.ParentReference{Resource: "services", Namespace: s.Namespace, Name: s.Name}
}

func (r *records) create(ctx context.Context, ip netip.Addr, of *networkingv1.ParentReference) error {
	if r == nil {
		return nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	_, err := r.store.Create(ctx, record(ip, of), rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	return err
}

func (r *records) remove(ctx context.Context, ip netip.Addr) {
	if r == nil {
		return
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	r.leaving.Store(ip, true)
	defer r.leaving.Delete(ip)
	if _, _, err := r.store.Delete(ctx, ip.String(), rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.log.Warn("the record of a released address stays: delete the IPAddress to give it free", "address", ip.String(), "error", err)
	}
}

// write records what a service was newly given. Of an address that another
// holds, nothing is recorded and errHeld tells it.
func (r *records) write(ctx context.Context, s *corev1.Service, given map[netip.Addr]bool) (netip.Addr, error) {
	var made []netip.Addr
	for ip := range given {
		err := r.create(ctx, ip, parent(s))
		if err == nil {
			made = append(made, ip)
			continue
		}
		for _, m := range made {
			r.remove(ctx, m)
		}
		if apierrors.IsAlreadyExists(err) {
			return ip, errHeld
		}
		return netip.Addr{}, fmt.Errorf("record address %s: %w", ip, err)
	}
	return netip.Addr{}, nil
}

// errHeld says that an address has a record already.
var errHeld = errors.New("address is held by another")

// follow makes writes of IPAddress objects by others count: who makes one
// keeps the address, who deletes one gives it free, and that of a service comes
// back.
func (a *Allocator) follow(store *genericregistry.Store) {
	store.BeginCreate = func(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		ip, err := netip.ParseAddr(obj.(*networkingv1.IPAddress).Name)
		if err != nil || isOwn(ctx) || dryrun.IsDryRun(options.DryRun) {
			return func(context.Context, bool) {}, nil
		}
		kept := a.keep(ip)
		return func(_ context.Context, success bool) {
			if kept && !success {
				a.unkeep(ip)
			}
		}, nil
	}
	remove := store.AfterDelete
	store.AfterDelete = func(obj runtime.Object, options *metav1.DeleteOptions) {
		if remove != nil {
			remove(obj, options)
		}
		gone := obj.(*networkingv1.IPAddress)
		ip, err := netip.ParseAddr(gone.Name)
		if err != nil || options != nil && dryrun.IsDryRun(options.DryRun) {
			return
		}
		if _, ours := a.records.leaving.Load(ip); ours || a.unkeep(ip) || !a.inUse(ip) {
			return
		}
		if err := a.records.create(context.Background(), ip, gone.Spec.ParentRef); err != nil && !apierrors.IsAlreadyExists(err) {
			a.log.Warn("the record of a service's address was deleted and cannot be made again", "address", ip.String(), "error", err)
		}
	}
}

// keep takes an address for somebody who is no service, and tells whether it
// was free.
func (a *Allocator) keep(ip netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	pool := a.ips[familyOf(ip)]
	if pool == nil || pool.claim(ip) != nil {
		return false
	}
	a.kept[ip] = true
	return true
}

// unkeep gives an address free that keep took.
func (a *Allocator) unkeep(ip netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.kept[ip] {
		return false
	}
	delete(a.kept, ip)
	a.ips[familyOf(ip)].free(ip)
	return true
}

// inUse tells whether a service has the address.
func (a *Allocator) inUse(ip netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	pool := a.ips[familyOf(ip)]
	if pool == nil || a.kept[ip] {
		return false
	}
	for _, r := range pool.ranges {
		if i, ok := r.index(ip); ok {
			_, taken := r.taken[i]
			return taken
		}
	}
	return false
}

// repair makes the records agree with the stored services, once at the start:
// a server may have died between two writes.
func (a *Allocator) repair(ctx context.Context, stored []corev1.Service) error {
	if a.records == nil {
		return nil
	}
	wanted := map[netip.Addr]*networkingv1.ParentReference{}
	for i := range stored {
		for ip := range held(&stored[i]).ips {
			wanted[ip] = parent(&stored[i])
		}
	}
	obj, err := a.records.store.List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the records of addresses: %w", err)
	}
	list, ok := obj.(*networkingv1.IPAddressList)
	if !ok {
		return errors.New("list the records of addresses: not a list of them")
	}
	for i := range list.Items {
		item := &list.Items[i]
		ip, err := netip.ParseAddr(item.Name)
		if err != nil {
			continue
		}
		if wanted[ip] != nil {
			delete(wanted, ip)
		} else if item.Labels[labelManagedBy] == manager {
			a.records.remove(ctx, ip)
		} else {
			a.keep(ip)
		}
	}
	for ip, of := range wanted {
		if err := a.records.create(ctx, ip, of); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("record address %s: %w", ip, err)
		}
	}
	return nil
}
