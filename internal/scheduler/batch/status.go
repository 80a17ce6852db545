package batch

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
)

// Changed returns the status of the queues whose status has changed since it was
// last asked for.
func (b *Batch) Changed() map[string]batchv1.QueueStatus {
	if len(b.dirty) == 0 {
		return nil
	}
	out := map[string]batchv1.QueueStatus{}
	for name := range b.dirty {
		delete(b.dirty, name)
		if !b.book.Known(name) {
			continue
		}
		n := b.counts[name]
		out[name] = batchv1.QueueStatus{
			PendingPods: n.pods, PendingGroups: n.groups, AdmittedPods: n.admitted,
			Usage: list(b.book.Usage(name)), DominantShare: fmt.Sprintf("%.3f", b.book.Share(name)),
		}
	}
	return out
}

// list writes amounts as quantities.
func list(a fair.Amounts) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, n := range a {
		switch name {
		case corev1.ResourceCPU:
			out[name] = *resource.NewMilliQuantity(n, resource.DecimalSI)
		case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			out[name] = *resource.NewQuantity(n, resource.BinarySI)
		default:
			out[name] = *resource.NewQuantity(n, resource.DecimalSI)
		}
	}
	return out
}
