package deployment

import (
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// roll grows the new set as far as maxSurge allows and shrinks old ones as far
// as maxUnavailable allows.
func (r *rollout) roll() {
	r.ensureNewSet(true)
	if !r.create {
		r.scale(r.fresh, r.newSetSize())
	}
	r.shrinkOld()
	if complete(r.d, r.d.Status) {
		r.removeHistory()
	}
}

// newSetSize is how large the new set may be now.
func (r *rollout) newSetSize() int32 {
	size := int32(0)
	if r.fresh != nil {
		size = *r.fresh.Spec.Replicas
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || size > r.replicas() {
		return r.replicas()
	}
	room := r.replicas() + r.maxSurge() - sum(r.all(), specReplicas)
	if room <= 0 {
		return size
	}
	return size + min(room, r.replicas()-size)
}

// shrinkOld takes unhealthy pods of old sets first, since nobody is served by
// them, then healthy ones as far as enough stay available.
func (r *rollout) shrinkOld() {
	if sum(r.old, specReplicas) == 0 {
		return
	}
	minAvailable := r.replicas() - r.maxUnavailable()
	notYet := specReplicas(r.fresh) - r.fresh.Status.AvailableReplicas
	budget := sum(r.all(), specReplicas) - minAvailable - notYet
	if budget <= 0 {
		return
	}
	for _, set := range r.old {
		unhealthy := specReplicas(set) - set.Status.AvailableReplicas
		if n := min(budget, unhealthy); n > 0 {
			budget -= n
			r.scale(set, specReplicas(set)-n)
		}
	}
	spare := sum(r.all(), staying) - minAvailable
	for _, set := range r.old {
		if n := min(spare, specReplicas(set)); n > 0 {
			spare -= n
			r.scale(set, specReplicas(set)-n)
		}
	}
}

// resized says that spec.replicas changed since the sets were last scaled.
func (r *rollout) resized() bool {
	for _, set := range r.all() {
		if specReplicas(set) == 0 {
			continue
		}
		if desired, ok := annotatedSize(set, DesiredReplicasAnnotation); ok && desired != r.replicas() {
			return true
		}
	}
	return false
}

// scaleAll follows a change of spec.replicas without going on with a rollout.
func (r *rollout) scaleAll() {
	if only := r.activeOrLatest(); only != nil {
		r.scale(only, r.replicas())
		return
	}
	if r.saturated() {
		for _, set := range r.old {
			if specReplicas(set) > 0 {
				r.scale(set, 0)
			}
		}
		return
	}
	if r.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		r.scaleProportionally()
	}
}

// activeOrLatest is the one set with pods; if none has any, the newest; nil if
// several have.
func (r *rollout) activeOrLatest() *appsv1.ReplicaSet {
	active := r.active()
	switch {
	case len(active) > 1:
		return nil
	case len(active) == 1:
		return active[0]
	case r.fresh != nil:
		return r.fresh
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	default:
		return nil
	}
}

func (r *rollout) active() []*appsv1.ReplicaSet {
	var active []*appsv1.ReplicaSet
	for _, set := range r.all() {
		if specReplicas(set) > 0 {
			active = append(active, set)
		}
	}
	return active
}

// saturated says that the new set alone carries the deployment.
func (r *rollout) saturated() bool {
	if r.fresh == nil {
		return false
	}
	desired, ok := annotatedSize(r.fresh, DesiredReplicasAnnotation)
	return ok && desired == r.replicas() && specReplicas(r.fresh) == r.replicas() &&
		r.fresh.Status.AvailableReplicas == r.replicas()
}

// scaleProportionally spreads a change of size over all sets with pods by their
// share, so that a rollout under way keeps its ratio.
func (r *rollout) scaleProportionally() {
	active := r.active()
	allowed := int32(0)
	if r.replicas() > 0 {
		allowed = r.replicas() + r.maxSurge()
	}
	toAdd := allowed - sum(active, specReplicas)
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int {
		if c := int(specReplicas(b)) - int(specReplicas(a)); c != 0 {
			return c
		}
		if toAdd > 0 {
			return olderFirst(b, a)
		}
		return olderFirst(a, b)
	})
	sizes := make([]int32, len(active))
	added := int32(0)
	for i, set := range active {
		sizes[i] = specReplicas(set)
		if toAdd == 0 {
			continue
		}
		share := r.share(set, toAdd, added)
		sizes[i] += share
		added += share
	}
	for i, set := range active {
		if i == 0 && toAdd != 0 {
			sizes[0] = max(sizes[0]+toAdd-added, 0)
		}
		r.scale(set, sizes[i])
	}
}

// share is how many pods the set gains or loses of toAdd, of which added are
// given away already.
func (r *rollout) share(set *appsv1.ReplicaSet, toAdd, added int32) int32 {
	if specReplicas(set) == 0 || toAdd == added {
		return 0
	}
	fraction := r.fraction(set)
	if toAdd > 0 {
		return min(fraction, toAdd-added)
	}
	return max(fraction, toAdd-added)
}

func (r *rollout) fraction(set *appsv1.ReplicaSet) int32 {
	if r.replicas() == 0 {
		return -specReplicas(set)
	}
	before, ok := annotatedSize(set, MaxReplicasAnnotation)
	if !ok || before == 0 {
		before = r.d.Status.Replicas
		if before == 0 {
			return 0
		}
	}
	size := float64(specReplicas(set)) * float64(r.replicas()+r.maxSurge()) / float64(before)
	return int32(math.Round(size)) - specReplicas(set)
}

// maxSurge is how many pods more than replicas may exist during a rollout.
func (r *rollout) maxSurge() int32 {
	surge, _ := fenceposts(r.d)
	return surge
}

// maxUnavailable is how many of the replicas may be unavailable.
func (r *rollout) maxUnavailable() int32 {
	_, unavailable := fenceposts(r.d)
	return min(unavailable, r.replicas())
}

// fenceposts resolves percentages: surge rounds up, unavailability down; should
// both come out as zero, one may be unavailable, or nothing could ever move.
func fenceposts(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || rolling == nil || *d.Spec.Replicas == 0 {
		return 0, 0
	}
	surge = resolve(rolling.MaxSurge, *d.Spec.Replicas, true)
	unavailable = resolve(rolling.MaxUnavailable, *d.Spec.Replicas, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func resolve(v *intstr.IntOrString, total int32, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(total), up)
	if err != nil {
		return 0
	}
	return int32(n)
}

func specReplicas(set *appsv1.ReplicaSet) int32 { return *set.Spec.Replicas }

// staying is how many available pods a set keeps: its status may not know yet
// that it was made smaller.
func staying(set *appsv1.ReplicaSet) int32 { return min(availableReplicas(set), specReplicas(set)) }

func availableReplicas(set *appsv1.ReplicaSet) int32 { return set.Status.AvailableReplicas }

func sum(sets []*appsv1.ReplicaSet, count func(*appsv1.ReplicaSet) int32) int32 {
	var total int32
	for _, set := range sets {
		total += count(set)
	}
	return total
}
