package deployment

import (
	"cmp"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Annotations that a rollout leaves on its ReplicaSets and reads back; kubectl's
// rollout commands read them too.
const (
	RevisionAnnotation        = "deployment.kubernetes.io/revision"
	RevisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	DesiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"
	MaxReplicasAnnotation     = "deployment.kubernetes.io/max-replicas"

	// revisionHistoryChars bounds the history annotation.
	revisionHistoryChars = 2000
)

// SameTemplate compares templates without the label that carries their hash.
func SameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := *a, *b
	x.Labels, y.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return equality.Semantic.DeepEqual(&x, &y)
}

func withoutHash(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		if k != appsv1.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}

// own are annotations that must not travel from a deployment to its sets.
func own(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, RevisionAnnotation, RevisionHistoryAnnotation,
		DesiredReplicasAnnotation, MaxReplicasAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// annotateNewSet copies the deployment's annotations to its new set and moves
// the set's revision forward to the given one. It says whether anything changed.
func annotateNewSet(d *appsv1.Deployment, set *appsv1.ReplicaSet, revision string, exists bool) bool {
	changed := false
	put := func(key, value string) {
		if set.Annotations == nil {
			set.Annotations = map[string]string{}
		}
		if have, ok := set.Annotations[key]; !ok || have != value {
			set.Annotations[key] = value
			changed = true
		}
	}
	for k, v := range d.Annotations {
		if !own(k) {
			put(k, v)
		}
	}
	before := set.Annotations[RevisionAnnotation]
	old, _ := strconv.ParseInt(before, 10, 64)
	next, _ := strconv.ParseInt(revision, 10, 64)
	if old < next {
		put(RevisionAnnotation, revision)
		if before != "" {
			put(RevisionHistoryAnnotation, appendHistory(set.Annotations[RevisionHistoryAnnotation], before))
		}
	}
	if !exists {
		surge, _ := fenceposts(d)
		annotateSize(set, *d.Spec.Replicas, *d.Spec.Replicas+surge)
	}
	return changed
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	revisions := append(strings.Split(history, ","), revision)
	for len(revisions) > 1 && len(strings.Join(revisions, ",")) > revisionHistoryChars {
		revisions = revisions[1:]
	}
	return strings.Join(revisions, ",")
}

func annotateSize(set *appsv1.ReplicaSet, desired, most int32) bool {
	changed := false
	for key, n := range map[string]int32{DesiredReplicasAnnotation: desired, MaxReplicasAnnotation: most} {
		value := strconv.Itoa(int(n))
		if set.Annotations[key] == value {
			continue
		}
		if set.Annotations == nil {
			set.Annotations = map[string]string{}
		}
		set.Annotations[key] = value
		changed = true
	}
	return changed
}

func annotatedSize(set *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseInt(set.Annotations[key], 10, 32)
	return int32(n), err == nil
}

func revisionOf(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func maxRevision(sets []*appsv1.ReplicaSet) int64 {
	var most int64
	for _, set := range sets {
		most = max(most, revisionOf(set))
	}
	return most
}

func byRevision(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(cmp.Compare(revisionOf(a), revisionOf(b)), olderFirst(a, b))
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}
