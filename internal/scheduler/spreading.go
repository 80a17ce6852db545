package scheduler

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// spreading knows which pods belong together, for constraints that pods do not
// have themselves: those of the same services and the same owner.
type spreading struct {
	services map[string]map[string]labels.Set // by namespace and name
	owners   map[types.UID]labels.Selector
	memo     map[types.UID]memo // by owner; good until a service or owner changes
}

type memo struct {
	labels   map[string]string
	selector labels.Selector
}

func newSpreading() *spreading {
	return &spreading{services: map[string]map[string]labels.Set{}, owners: map[types.UID]labels.Selector{}, memo: map[types.UID]memo{}}
}

func (s *spreading) set(obj any, deleted bool) {
	switch o := obj.(type) {
	case *corev1.Service:
		s.setService(o, deleted)
	case *corev1.ReplicationController:
		s.setOwner(o.UID, labels.SelectorFromSet(o.Spec.Selector), deleted || len(o.Spec.Selector) == 0)
	case *appsv1.ReplicaSet:
		s.setOwnerBy(o.UID, o.Spec.Selector, deleted)
	case *appsv1.StatefulSet:
		s.setOwnerBy(o.UID, o.Spec.Selector, deleted)
	}
}

func (s *spreading) setService(o *corev1.Service, deleted bool) {
	all := s.services[o.Namespace]
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
			s.services[o.Namespace] = all
		}
		all[o.Name] = o.Spec.Selector
	}
	if len(all) == 0 {
		delete(s.services, o.Namespace)
	}
	clear(s.memo)
}

func (s *spreading) setOwnerBy(uid types.UID, by *metav1.LabelSelector, deleted bool) {
	if _, known := s.owners[uid]; known && !deleted {
		return // selectors of owners do not change
	}
	selector, err := metav1.LabelSelectorAsSelector(by)
	s.setOwner(uid, selector, deleted || err != nil)
}

func (s *spreading) setOwner(uid types.UID, selector labels.Selector, gone bool) {
	delete(s.memo, uid)
	if gone {
		delete(s.owners, uid)
		return
	}
	s.owners[uid] = selector
}

// selector returns what selects the pods that belong with one, or nil.
func (s *spreading) selector(pod *corev1.Pod) labels.Selector {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner != nil {
		if m, ok := s.memo[owner.UID]; ok && maps.Equal(m.labels, pod.Labels) {
			return m.selector
		}
	}
	out := s.compute(pod, owner)
	if owner != nil && s.owners[owner.UID] != nil {
		s.memo[owner.UID] = memo{pod.Labels, out}
	}
	return out
}

func (s *spreading) compute(pod *corev1.Pod, owner *metav1.OwnerReference) labels.Selector {
	set := labels.Set{}
	for _, by := range s.services[pod.Namespace] {
		if by.AsSelectorPreValidated().Matches(labels.Set(pod.Labels)) {
			maps.Copy(set, by)
		}
	}
	out := labels.NewSelector()
	if len(set) > 0 {
		out = labels.SelectorFromSet(set)
	}
	if owner != nil {
		if by := s.owners[owner.UID]; by != nil {
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
