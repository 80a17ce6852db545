package fair

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Words says how a request stands in its queue.
func (v Verdict) Words(queue string) string {
	amount := func(n int64) string {
		if v.Resource == corev1.ResourceCPU {
			return resource.NewMilliQuantity(n, resource.DecimalSI).String()
		}
		if v.Resource == corev1.ResourceMemory || v.Resource == corev1.ResourceEphemeralStorage {
			return resource.NewQuantity(n, resource.BinarySI).String()
		}
		return resource.NewQuantity(n, resource.DecimalSI).String()
	}
	of := "its cohort"
	if v.Limit {
		of = "its limit"
	}
	switch v.Standing {
	case Unknown:
		return fmt.Sprintf("there is no queue %q", queue)
	case Never:
		return fmt.Sprintf("queue %q can never have %s %s: %s is %s", queue, amount(v.Wanted), v.Resource, of, amount(v.Most))
	case Lent:
		return fmt.Sprintf("queue %q is within its quota, but other queues use what it lent: %s %s wanted, %s of %s in its cohort free", queue, amount(v.Wanted), v.Resource, amount(v.Free), amount(v.Most))
	case Waits:
		return fmt.Sprintf("queue %q is full: %s %s wanted, %s of %s in %s free", queue, amount(v.Wanted), v.Resource, amount(v.Free), amount(v.Most), of)
	}
	return WaitsForTurn(queue)
}

// WaitsForTurn says that nothing but others before it keeps a request waiting.
func WaitsForTurn(queue string) string { return fmt.Sprintf("waits for its turn in queue %q", queue) }

// TakesNoneOf says that a queue is not for a namespace.
func TakesNoneOf(queue, namespace string) string {
	return fmt.Sprintf("queue %q does not take pods of namespace %q", queue, namespace)
}
