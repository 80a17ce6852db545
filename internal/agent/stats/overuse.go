package stats

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Overused measures the pods that have limits on the node's disk and says of
// those over them why they must go, in the words of an eviction. Where no pod
// has such limits it costs nothing.
func (r *Reader) Overused(ctx context.Context, pods []*corev1.Pod) (map[types.UID]string, error) {
	limited := map[string]*corev1.Pod{}
	for _, pod := range pods {
		if diskLimits(pod) {
			limited[string(pod.UID)] = pod
		}
	}
	if len(limited) == 0 {
		return nil, nil
	}
	s, err := r.sample(ctx)
	if err != nil {
		return nil, err
	}
	now := metav1.NewTime(r.options.Now())
	disk := fileSystem(r.options.Dir, now)
	over := map[types.UID]string{}
	for _, stats := range s.pods {
		pod, ok := limited[stats.Attributes.GetMetadata().GetUid()]
		if !ok {
			continue
		}
		measured := r.pod(ctx, &s, stats, disk, now)
		if why := Overuse(pod, &measured); why != "" {
			over[pod.UID] = why
		}
	}
	return over, nil
}

func diskLimits(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].EmptyDir; v != nil && v.SizeLimit != nil && v.SizeLimit.Sign() > 0 {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if !pod.Spec.Containers[i].Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// Overuse says why a pod must go for what it keeps on the node's disk; empty is
// that it need not.
func Overuse(pod *corev1.Pod, stats *statsapi.PodStats) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		for _, used := range stats.VolumeStats {
			if used.Name == v.Name && exceeds(used.UsedBytes, v.EmptyDir.SizeLimit) {
				return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
			}
		}
	}
	if limit := podLimit(pod); limit != nil && stats.EphemeralStorage != nil && exceeds(stats.EphemeralStorage.UsedBytes, limit) {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		limit := c.Resources.Limits.StorageEphemeral()
		if limit.IsZero() {
			continue
		}
		for _, used := range stats.Containers {
			if used.Name == c.Name && exceeds(ptr(bytesOf(used.Rootfs)+bytesOf(used.Logs)), limit) {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit)
			}
		}
	}
	return ""
}

// podLimit is the sum of the containers' limits, if all have one.
func podLimit(pod *corev1.Pod) *resource.Quantity {
	var sum resource.Quantity
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.StorageEphemeral()
		if limit.IsZero() {
			return nil
		}
		sum.Add(*limit)
	}
	if sum.IsZero() {
		return nil
	}
	return &sum
}

func exceeds(used *uint64, limit *resource.Quantity) bool {
	return used != nil && *used > uint64(limit.Value())
}

func bytesOf(fs *statsapi.FsStats) uint64 {
	if fs == nil || fs.UsedBytes == nil {
		return 0
	}
	return *fs.UsedBytes
}

func ptr[T any](v T) *T { return &v }
