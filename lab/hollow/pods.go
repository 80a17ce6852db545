package hollow

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// see has the pod's node do what is due.
func (f *Fleet) see(obj any, deleted bool) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	if f.opts.Observe != nil {
		f.opts.Observe(pod, deleted)
	}
	if deleted {
		f.mu.Lock()
		delete(f.stage, pod.UID)
		f.mu.Unlock()
		return
	}
	n := f.byName[pod.Spec.NodeName]
	if n == nil {
		return
	}
	switch {
	case pod.DeletionTimestamp != nil:
		if f.reach(pod.UID, ending) {
			f.jobs.Put(job{node: n, what: end, pod: identify(pod)})
		}
	case pod.Status.Phase == corev1.PodPending && !f.opts.Still:
		if f.reach(pod.UID, running) {
			f.jobs.Put(job{node: n, what: run, pod: identify(pod)})
		}
	case unready(pod) && !f.opts.Still:
		// The node was taken for dead, and says that its pods run as ever.
		f.jobs.Put(job{node: n, what: run, pod: identify(pod)})
	}
}

func unready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse
	})
}

// reach reports whether the pod was not yet as far as that.
func (f *Fleet) reach(uid types.UID, s stage) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stage[uid] >= s {
		return false
	}
	f.stage[uid] = s
	return true
}

// identity is what a job needs to know of a pod.
type identity struct {
	namespace, name string
	uid             types.UID
	containers      []container
}

type container struct{ name, image string }

func identify(pod *corev1.Pod) identity {
	id := identity{namespace: pod.Namespace, name: pod.Name, uid: pod.UID}
	for _, c := range pod.Spec.Containers {
		id.containers = append(id.containers, container{c.Name, c.Image})
	}
	return id
}
