// Package kin knows which pods belong together: those of the same services and the same
// owner. Constraints that pods do not have themselves, as those by which a profile
// spreads what spreads itself not, count the pods that belong with one.
package kin

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// World is what is known of services and owners. It has no lock.
type World struct {
	services map[string]map[string]labels.Set // by namespace and name
	owners   map[types.UID]labels.Selector
	memo     map[types.UID]memo // by owner; good until a service or owner changes
}

type memo struct {
	labels   map[string]string
	selector labels.Selector
}

// New returns a world of which nothing is known.
func New() *World {
	return &World{services: map[string]map[string]labels.Set{}, owners: map[types.UID]labels.Selector{}, memo: map[types.UID]memo{}}
}

// Set takes in an object, or that it is gone. Those of other kinds than services and the
// owners that count are left out.
func (w *World) Set(obj any, deleted bool) {
	switch o := obj.(type) {
	case *corev1.Service:
		w.setService(o, deleted)
	case *corev1.ReplicationController:
		w.setOwner(o.UID, labels.SelectorFromSet(o.Spec.Selector), deleted || len(o.Spec.Selector) == 0)
	case *appsv1.ReplicaSet:
		w.setOwnerBy(o.UID, o.Spec.Selector, deleted)
	case *appsv1.StatefulSet:
		w.setOwnerBy(o.UID, o.Spec.Selector, deleted)
	}
}

func (w *World) setService(o *corev1.Service, deleted bool) {
	all := w.services[o.Namespace]
	if deleted || len(o.Spec.Selector) == 0 {
		if _, was := all[o.Name]; !was {
			return
		}
		delete(all, o.Name)
	} else {
		if maps.Equal(all[o.Name], o.Spec.Selector) {
			return
		}
		if all == nil {
			all = map[string]labels.Set{}
			w.services[o.Namespace] = all
		}
		all[o.Name] = o.Spec.Selector
	}
	if len(all) == 0 {
		delete(w.services, o.Namespace)
	}
	clear(w.memo)
}

func (w *World) setOwnerBy(uid types.UID, by *metav1.LabelSelector, deleted bool) {
	if _, known := w.owners[uid]; known && !deleted {
		return // selectors of owners do not change
	}
	selector, err := metav1.LabelSelectorAsSelector(by)
	w.setOwner(uid, selector, deleted || err != nil)
}

func (w *World) setOwner(uid types.UID, selector labels.Selector, gone bool) {
	delete(w.memo, uid)
	if gone {
		delete(w.owners, uid)
		return
	}
	w.owners[uid] = selector
}

// Of returns what selects the pods that belong with one, or nil.
func (w *World) Of(pod *corev1.Pod) labels.Selector {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner != nil {
		if m, ok := w.memo[owner.UID]; ok && maps.Equal(m.labels, pod.Labels) {
			return m.selector
		}
	}
	out := w.compute(pod, owner)
	if owner != nil && w.owners[owner.UID] != nil {
		w.memo[owner.UID] = memo{pod.Labels, out}
	}
	return out
}

func (w *World) compute(pod *corev1.Pod, owner *metav1.OwnerReference) labels.Selector {
	set := labels.Set{}
	for _, by := range w.services[pod.Namespace] {
		if by.AsSelectorPreValidated().Matches(labels.Set(pod.Labels)) {
			maps.Copy(set, by)
		}
	}
	out := labels.NewSelector()
	if len(set) > 0 {
		out = labels.SelectorFromSet(set)
	}
	if owner != nil {
		if by := w.owners[owner.UID]; by != nil {
			if requirements, ok := by.Requirements(); ok {
				out = out.Add(requirements...)
			}
		}
	}
	if out.Empty() {
		return nil
	}
	return out
}
