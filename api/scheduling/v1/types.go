// Package v1 is the version 1 of the API group scheduling.sinawi.dev: queues that
// share a cluster among many users' batch work. It holds the types and the
// definition that serves them, and no behaviour.
package v1

import (
	_ "embed"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// QueueLabel on a pod names the queue that it waits in and that is charged for
// it. It is read when the scheduler first sees the pod.
const QueueLabel = "scheduling.sinawi.dev/queue"

// QueueKind returns the kind of queues.
func QueueKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "scheduling.sinawi.dev", Version: "v1", Kind: "Queue"}
}

// Definition is the CustomResourceDefinition of queues, as YAML.
//
//go:embed queues.yaml
var Definition []byte

// Queue is a share of the cluster that the pods of one team or purpose wait for.
// Pods name their queue by the label scheduling.sinawi.dev/queue.
type Queue struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   QueueSpec   `json:"spec"`
	Status QueueStatus `json:"status,omitempty"`
}

// QueueSpec says what a queue is entitled to.
type QueueSpec struct {
	// NamespaceSelector says by their labels whose pods the queue takes, by
	// namespace. Without one it takes everybody's.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// Cohort names the queues that lend each other what they do not use. A queue
	// without one neither lends nor borrows.
	Cohort string `json:"cohort,omitempty"`
	// Quota is what the queue is guaranteed. Resources that no queue of the cohort
	// names are not limited.
	Quota corev1.ResourceList `json:"quota,omitempty"`
	// Limit is the most that the queue may use with what it borrows. A resource
	// that it does not name may be borrowed without limit.
	Limit corev1.ResourceList `json:"limit,omitempty"`
	// Weight is the queue's share of what is borrowed, relative to others'.
	Weight int64 `json:"weight,omitempty"`
	// Reclaim says whose pods the queue may evict to get back what it lent.
	Reclaim ReclaimPolicy `json:"reclaim,omitempty"`
}

// ReclaimPolicy says whether lent resources are taken back by evicting pods.
type ReclaimPolicy string

// The policies.
const (
	// ReclaimNever waits until what was lent comes back by itself.
	ReclaimNever ReclaimPolicy = "Never"
	// ReclaimLowerPriority evicts pods of lower priority than the one that waits.
	ReclaimLowerPriority ReclaimPolicy = "LowerPriority"
	// ReclaimAny evicts any pod of a queue that uses more than its quota.
	ReclaimAny ReclaimPolicy = "Any"
)

// QueueStatus is what the scheduler sees of a queue.
type QueueStatus struct {
	// PendingPods wait in the queue.
	PendingPods int64 `json:"pendingPods"`
	// PendingGroups have pods that wait in the queue.
	PendingGroups int64 `json:"pendingGroups"`
	// AdmittedPods have a node.
	AdmittedPods int64 `json:"admittedPods"`
	// Usage is what the admitted pods request.
	Usage corev1.ResourceList `json:"usage,omitempty"`
	// DominantShare is the greatest part of any resource of the cohort that the
	// queue uses, from 0 to 1, divided by its weight.
	DominantShare string `json:"dominantShare,omitempty"`
}

// DeepCopy returns a copy that shares nothing with q.
func (q *Queue) DeepCopy() *Queue {
	out := *q
	q.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.NamespaceSelector = q.Spec.NamespaceSelector.DeepCopy()
	out.Spec.Quota, out.Spec.Limit = q.Spec.Quota.DeepCopy(), q.Spec.Limit.DeepCopy()
	out.Status.Usage = q.Status.Usage.DeepCopy()
	return &out
}

// DeepCopyObject implements runtime.Object.
func (q *Queue) DeepCopyObject() runtime.Object { return q.DeepCopy() }
