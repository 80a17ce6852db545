package deployment

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// snapshot is what a decision is made from.
type snapshot struct {
	deployment *appsv1.Deployment
	// sets are all ReplicaSets that the deployment controls.
	sets []*appsv1.ReplicaSet
	// oldPodsRunning says that pods of another template are not gone yet. Only
	// the Recreate strategy asks.
	oldPodsRunning bool
}

// plan is what to do for one Deployment.
type plan struct {
	// create is the ReplicaSet to make for a template that has none.
	create *appsv1.ReplicaSet
	// update are changed copies of sets.
	update []*appsv1.ReplicaSet
	// scaled says which of these changed size, for the events.
	scaled []scaling
	// remove are old sets beyond the history limit.
	remove []*appsv1.ReplicaSet
	// revision is the deployment's revision, empty while it has none.
	revision string
	status   appsv1.DeploymentStatus
	// again is when the progress deadline passes.
	again time.Duration
}

type scaling struct {
	set      string
	from, to int32
}

// decide says how to bring the deployment nearer to its spec.
func decide(s snapshot, now time.Time) plan {
	r := newRollout(s, now)
	d := r.d
	if d.DeletionTimestamp != nil {
		r.syncStatus()
		return r.plan()
	}
	r.markPaused()
	switch {
	case d.Spec.Paused:
		r.ensureNewSet(false)
		r.scaleAll()
		r.removeHistory()
		r.syncStatus()
	case r.resized():
		r.ensureNewSet(false)
		r.scaleAll()
		r.syncStatus()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		r.recreate()
		r.syncProgress()
	default:
		r.roll()
		r.syncProgress()
	}
	return r.plan()
}

// rollout is one decision in the making. Its sets are copies whose fields change
// as the decision goes on.
type rollout struct {
	d        *appsv1.Deployment
	now      time.Time
	fresh    *appsv1.ReplicaSet   // the set of the deployment's template, or nil
	old      []*appsv1.ReplicaSet // all others, oldest first
	pods     bool                 // old pods are still there
	create   bool                 // fresh does not exist yet
	touched  map[*appsv1.ReplicaSet]bool
	scaled   []scaling
	remove   []*appsv1.ReplicaSet
	revision string
	status   appsv1.DeploymentStatus
	again    time.Duration
}

func newRollout(s snapshot, now time.Time) *rollout {
	r := &rollout{
		d: s.deployment, now: now, pods: s.oldPodsRunning,
		touched:  map[*appsv1.ReplicaSet]bool{},
		revision: s.deployment.Annotations[RevisionAnnotation],
		status:   *s.deployment.Status.DeepCopy(),
	}
	sets := make([]*appsv1.ReplicaSet, 0, len(s.sets))
	for _, set := range s.sets {
		sets = append(sets, set.DeepCopy())
	}
	slices.SortFunc(sets, olderFirst)
	for _, set := range sets {
		if r.fresh == nil && SameTemplate(&set.Spec.Template, &s.deployment.Spec.Template) {
			r.fresh = set
		} else {
			r.old = append(r.old, set)
		}
	}
	return r
}

func (r *rollout) plan() plan {
	p := plan{scaled: r.scaled, remove: r.remove, revision: r.revision, status: r.status, again: r.again}
	if r.create {
		p.create = r.fresh
	}
	for _, set := range r.all() {
		if r.touched[set] && !(r.create && set == r.fresh) {
			p.update = append(p.update, set)
		}
	}
	return p
}

// all are the sets in the order in which changes are written: the new one first,
// so that growing comes before shrinking.
func (r *rollout) all() []*appsv1.ReplicaSet {
	if r.fresh == nil {
		return r.old
	}
	return append([]*appsv1.ReplicaSet{r.fresh}, r.old...)
}

func (r *rollout) replicas() int32 { return *r.d.Spec.Replicas }

// ensureNewSet brings the template's set up to date, or plans it if it is
// missing and may be made.
func (r *rollout) ensureNewSet(create bool) {
	revision := strconv.FormatInt(maxRevision(r.old)+1, 10)
	if r.fresh != nil {
		changed := annotateNewSet(r.d, r.fresh, revision, true)
		if r.fresh.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
			r.fresh.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
			changed = true
		}
		if changed {
			r.touched[r.fresh] = true
		}
		r.revision = r.fresh.Annotations[RevisionAnnotation]
		if hasDeadline(r.d) && condition(r.status, appsv1.DeploymentProgressing) == nil {
			r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue,
				"FoundNewReplicaSet", "Found new replica set "+strconv.Quote(r.fresh.Name))
		}
		return
	}
	if !create {
		return
	}
	r.fresh = newSet(r.d)
	r.create = true
	*r.fresh.Spec.Replicas = r.newSetSize()
	annotateNewSet(r.d, r.fresh, revision, false)
	r.revision = revision
	if hasDeadline(r.d) {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue,
			"NewReplicaSetCreated", "Created new replica set "+strconv.Quote(r.fresh.Name))
	}
	if *r.fresh.Spec.Replicas > 0 {
		r.scaled = append(r.scaled, scaling{set: r.fresh.Name, from: 0, to: *r.fresh.Spec.Replicas})
	}
}

// newSet is the ReplicaSet of the deployment's template, of size zero.
func newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	hash := workload.TemplateHash(&d.Spec.Template, d.Status.CollisionCount)
	template := *d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withLabel(selector.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	zero := int32(0)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            d.Name + "-" + hash,
			Namespace:       d.Namespace,
			Labels:          template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        &zero,
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        template,
		},
	}
}

func withLabel(labels map[string]string, key, value string) map[string]string {
	out := make(map[string]string, len(labels)+1)
	for k, v := range labels {
		out[k] = v
	}
	out[key] = value
	return out
}

// scale sets a set's size and the annotations that proportional scaling reads.
func (r *rollout) scale(set *appsv1.ReplicaSet, size int32) bool {
	if annotateSize(set, r.replicas(), r.replicas()+r.maxSurge()) {
		r.touched[set] = true
	}
	if *set.Spec.Replicas == size {
		return false
	}
	r.scaled = append(r.scaled, scaling{set: set.Name, from: *set.Spec.Replicas, to: size})
	set.Spec.Replicas = &size
	r.touched[set] = true
	return true
}

// recreate stops all old pods before it starts new ones.
func (r *rollout) recreate() {
	r.ensureNewSet(false)
	stopping := false
	for _, set := range r.old {
		if *set.Spec.Replicas > 0 {
			stopping = r.scale(set, 0) || stopping
		}
	}
	if stopping || r.pods {
		return
	}
	for _, set := range r.old {
		if set.Status.Replicas > 0 {
			return
		}
	}
	if r.fresh == nil {
		r.ensureNewSet(true)
	} else {
		r.scale(r.fresh, r.replicas())
	}
	if complete(r.d, r.d.Status) {
		r.removeHistory()
	}
}

// removeHistory drops old sets that are empty, beyond the history limit.
func (r *rollout) removeHistory() {
	limit := r.d.Spec.RevisionHistoryLimit
	if limit == nil {
		return
	}
	var kept []*appsv1.ReplicaSet
	for _, set := range r.old {
		if set.DeletionTimestamp == nil {
			kept = append(kept, set)
		}
	}
	excess := len(kept) - int(*limit)
	if excess <= 0 {
		return
	}
	slices.SortStableFunc(kept, byRevision)
	for _, set := range kept[:excess] {
		empty := set.Status.Replicas == 0 && *set.Spec.Replicas == 0
		if empty && set.Generation <= set.Status.ObservedGeneration {
			r.remove = append(r.remove, set)
		}
	}
}
