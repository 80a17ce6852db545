package statefulset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func p[T any](v T) *T { return &v }

func newSet(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "db", UID: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			PodManagementPolicy: appsv1.OrderedReadyPodManagement,
		},
	}
}

// podOf is a pod of a set: state is ready, starting, failed or leaving.
func podOf(set *appsv1.StatefulSet, n int, revision, state string) *corev1.Pod {
	pod := build(set, &corev1.PodTemplateSpec{}, revision, n)
	pod.UID = types.UID(fmt.Sprintf("%s/%s", pod.Name, revision))
	pod.Status.Phase = corev1.PodRunning
	status := corev1.ConditionFalse
	switch state {
	case "ready":
		status = corev1.ConditionTrue
	case "failed":
		pod.Status.Phase = corev1.PodFailed
	case "leaving":
		status = corev1.ConditionTrue
		now := metav1.Now()
		pod.DeletionTimestamp = &now
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	return pod
}

func TestDecide(t *testing.T) {
	parallel := func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }
	partition := func(n int32) func(*appsv1.StatefulSet) {
		return func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &n}
		}
	}
	for _, tt := range []struct {
		name     string
		replicas int32
		change   func(*appsv1.StatefulSet)
		pods     []string // "number revision state"; the revision to come is 2
		create   []string
		remove   []string
	}{
		{"the first", 3, nil, nil, []string{"0 2"}, nil},
		{"the next when the first is ready", 3, nil, []string{"0 2 ready"}, []string{"1 2"}, nil},
		{"not while the first starts", 3, nil, []string{"0 2 starting"}, nil, nil},
		{"all at once", 3, parallel, nil, []string{"0 2", "1 2", "2 2"}, nil},
		{"a gap", 3, nil, []string{"0 2 ready", "2 2 ready"}, []string{"1 2"}, nil},
		{"a failed one is replaced", 2, nil, []string{"0 2 failed", "1 2 ready"}, nil, []string{"db-0"}},
		{"one too many, the highest first", 1, nil, []string{"0 2 ready", "1 2 ready", "2 2 ready"}, nil, []string{"db-2"}},
		{"not while another leaves", 1, nil, []string{"0 2 ready", "1 2 ready", "2 2 leaving"}, nil, nil},
		{"all too many at once", 1, parallel, []string{"0 2 ready", "1 2 ready", "2 2 starting"}, nil, []string{"db-2", "db-1"}},
		{"a rollout begins at the top", 3, nil, []string{"0 1 ready", "1 1 ready", "2 1 ready"}, nil, []string{"db-2"}},
		{"and goes on", 3, nil, []string{"0 1 ready", "1 1 ready", "2 2 ready"}, nil, []string{"db-1"}},
		{"but waits", 3, nil, []string{"0 1 ready", "1 1 ready", "2 2 starting"}, nil, nil},
		{"down to the partition", 3, partition(2), []string{"0 1 ready", "1 1 ready", "2 2 ready"}, nil, nil},
		{"below the partition pods come back as they were", 3, partition(2), []string{"1 1 ready", "2 2 ready"}, []string{"0 1"}, nil},
		{"by hand only", 2, func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType },
			[]string{"0 1 ready", "1 1 ready"}, nil, nil},
		{"two at a time", 4, func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: p(intstr.FromInt32(2))}
		}, []string{"0 1 ready", "1 1 ready", "2 1 ready", "3 1 ready"}, nil, []string{"db-3", "db-2"}},
		{"numbers from 5 on", 2, func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5} },
			[]string{"5 2 ready"}, []string{"6 2"}, nil},
		{"on its way out", 3, func(s *appsv1.StatefulSet) { s.DeletionTimestamp = p(metav1.Now()) }, []string{"0 2 ready"}, nil, nil},
	} {
		set := newSet(tt.replicas)
		if tt.change != nil {
			tt.change(set)
		}
		snap := snapshot{set: set, current: "1", update: "2"}
		for _, s := range tt.pods {
			var n int
			var revision, state string
			if _, err := fmt.Sscan(s, &n, &revision, &state); err != nil {
				t.Fatal(err)
			}
			snap.pods = append(snap.pods, podOf(set, n, revision, state))
		}
		plan := decide(snap, time.Now())
		var create, remove []string
		for _, c := range plan.create {
			create = append(create, fmt.Sprintf("%d %s", c.ordinal, c.revision))
		}
		for _, pod := range slices.Concat(plan.renew, plan.remove) {
			remove = append(remove, pod.Name)
		}
		if !slices.Equal(create, tt.create) || !slices.Equal(remove, tt.remove) {
			t.Errorf("%s: create %v, remove %v; want %v, %v", tt.name, create, remove, tt.create, tt.remove)
		}
	}
}

func TestOrdinal(t *testing.T) {
	set := newSet(1)
	for name, want := range map[string]int{"db-0": 0, "db-12": 12, "db-01": -1, "db-": -1, "db-x": -1, "other-0": -1, "db-1-2": -1, "db--1": -1} {
		n, ok := ordinal(set, &metav1.ObjectMeta{Name: name})
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%s: %d, want %d", name, n, want)
		}
	}
}

func TestClaimOwners(t *testing.T) {
	set := newSet(1)
	pod := podOf(set, 1, "1", "ready")
	yes := true
	other := metav1.OwnerReference{Kind: "Thing", Name: "other", UID: "other"}
	foreign := metav1.OwnerReference{Kind: "Thing", Name: "foreign", UID: "foreign", Controller: &yes}
	bySet := *metav1.NewControllerRef(set, kind)
	byPod := *metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	weak := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: set.UID}
	stale := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "before"}
	const keep, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	type refs = []metav1.OwnerReference
	for _, tt := range []struct {
		name            string
		deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		condemned       *corev1.Pod
		had, want       refs
	}{
		{"kept", keep, keep, nil, refs{other, bySet}, refs{other}},
		{"kept when scaled down", keep, keep, pod, refs{other, byPod}, refs{other}},
		{"goes with the set", remove, keep, nil, refs{other}, refs{other, bySet}},
		{"goes with the set, scaled down", remove, keep, pod, refs{other}, refs{other, bySet}},
		{"goes with a pod that stays", keep, remove, nil, refs{other, byPod}, refs{other}},
		{"goes with the pod", keep, remove, pod, refs{other}, refs{other, byPod}},
		{"goes with the set first", remove, remove, nil, refs{byPod}, refs{bySet}},
		{"goes with the pod first", remove, remove, pod, refs{bySet}, refs{byPod}},
		{"was no controller", remove, keep, nil, refs{weak}, refs{bySet}},
		{"has another controller", remove, remove, nil, refs{foreign}, refs{foreign}},
		{"has two controllers", remove, remove, nil, refs{foreign, bySet}, refs{foreign}},
		{"has a set that is gone", remove, remove, nil, refs{stale}, refs{stale}},
	} {
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: tt.deleted, WhenScaled: tt.scaled}
		if got := claimOwners(set, tt.had, 1, tt.condemned); !equality.Semantic.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestOrderIsKept plays a set whose pods become ready at random: no pod is made
// while one before it is not ready, and at most one is missing in a rollout.
func TestOrderIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := newSet(rapid.Int32Range(1, 5).Draw(t, "replicas"))
		pods := map[int]*corev1.Pod{}
		current, update := "1", "1"
		for range 120 {
			if update == "1" && rapid.IntRange(0, 20).Draw(t, "roll") == 0 {
				update = "2"
			}
			snap := snapshot{set: set, current: current, update: update}
			for _, pod := range pods {
				snap.pods = append(snap.pods, pod)
			}
			plan := decide(snap, time.Now())
			current = plan.status.CurrentRevision
			if len(plan.create)+len(plan.remove) > 1 {
				t.Fatalf("more than one step at a time: %v %v", plan.create, plan.remove)
			}
			for _, c := range plan.create {
				for n := range c.ordinal {
					if pods[n] == nil || !runningAndReady(pods[n]) {
						t.Fatalf("pod %d is made while %d is not ready", c.ordinal, n)
					}
				}
				pods[c.ordinal] = podOf(set, c.ordinal, c.revision, "starting")
			}
			for _, gone := range plan.remove {
				for n, pod := range pods {
					if !runningAndReady(pod) && pod != gone {
						t.Fatalf("%s is removed while %d is not ready", gone.Name, n)
					}
				}
				n, _ := ordinal(set, gone)
				delete(pods, n)
			}
			for n, pod := range pods {
				if !runningAndReady(pod) && rapid.Bool().Draw(t, "ready") {
					pods[n] = podOf(set, n, revision(pod), "ready")
				}
			}
		}
	})
}
