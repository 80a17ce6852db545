package node

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A node that has not renewed for leaseDuration is taken for dead.
const (
	leaseDuration = 40 * time.Second
	leasePeriod   = leaseDuration / 4
)

// renew keeps the node's lease alive.
func (n *Node) renew(ctx context.Context) {
	var lease *coordinationv1.Lease
	retry := retryFirst
	for {
		wait := leasePeriod
		next, err := n.renewOnce(ctx, lease)
		if err != nil && ctx.Err() == nil {
			n.deps.Log.Warn("node lease not renewed, trying again", "err", err)
			wait, lease = retry, nil
			retry = min(2*retry, retryMost)
		} else {
			lease, retry = next, retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (n *Node) renewOnce(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	leases := n.deps.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if lease == nil {
		var err error
		lease, err = leases.Get(ctx, n.options.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			fresh := n.fill(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.options.Name, Namespace: corev1.NamespaceNodeLease}})
			made, err := leases.Create(ctx, fresh, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("create lease: %w", err)
			}
			return made, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read lease: %w", err)
		}
	}
	written, err := leases.Update(ctx, n.fill(lease.DeepCopy()), metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("renew lease: %w", err)
	}
	return written, nil
}

func (n *Node) fill(lease *coordinationv1.Lease) *coordinationv1.Lease {
	seconds := int32(leaseDuration / time.Second)
	now := metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &n.options.Name, &seconds, &now
	if node := n.Current(); node != nil && len(lease.OwnerReferences) == 0 {
		// The lease goes with its node.
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
	return lease
}
