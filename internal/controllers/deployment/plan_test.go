package deployment

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

func p[T any](v T) *T { return &v }

// world plays everything around one deployment: plans are carried out, sets make
// and lose pods, pods become available when the test lets them.
type world struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	now  time.Time
	made int
}

func newWorld(replicas int32, surge, unavailable intstr.IntOrString) *world {
	w := &world{now: time.Unix(1e9, 0)}
	w.d = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			RevisionHistoryLimit: p(int32(2)), ProgressDeadlineSeconds: p(int32(600)),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
		},
	}
	w.d.Spec.Template.Labels = map[string]string{"app": "web"}
	w.setImage("1")
	return w
}

func (w *world) setImage(image string) {
	w.d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: image}}
	w.d.Generation++
}

// step carries out one plan.
func (w *world) step() plan {
	plan := decide(snapshot{deployment: w.d, sets: w.sets}, w.now)
	if plan.create != nil {
		w.made++
		set := plan.create.DeepCopy()
		set.UID = types.UID(fmt.Sprint(w.made))
		set.CreationTimestamp = metav1.NewTime(w.now.Add(time.Duration(w.made) * time.Second))
		w.sets = append(w.sets, set)
	}
	for _, next := range plan.update {
		for i := range w.sets {
			if w.sets[i].UID == next.UID {
				w.sets[i] = next
			}
		}
	}
	for _, gone := range plan.remove {
		var kept []*appsv1.ReplicaSet
		for _, set := range w.sets {
			if set.UID != gone.UID {
				kept = append(kept, set)
			}
		}
		w.sets = kept
	}
	if plan.revision != "" {
		w.d.Annotations = map[string]string{RevisionAnnotation: plan.revision}
	}
	w.d.Status = plan.status
	return plan
}

// settle lets a set have the pods it asks for; up to n more become available.
func (w *world) settle(set *appsv1.ReplicaSet, n int32) {
	st := &set.Status
	st.Replicas = *set.Spec.Replicas
	st.AvailableReplicas = min(st.AvailableReplicas+n, st.Replicas)
	st.ReadyReplicas = st.AvailableReplicas
	st.TerminatingReplicas = p(int32(0))
}

func (w *world) total() (replicas, available int32) {
	for _, set := range w.sets {
		replicas += *set.Spec.Replicas
		available += min(set.Status.AvailableReplicas, *set.Spec.Replicas)
	}
	return replicas, available
}

// TestRolloutKeepsItsPromise rolls at random: there are never more pods than
// replicas and surge, and as long as pods do not break, never fewer available
// ones than replicas less maxUnavailable.
func TestRolloutKeepsItsPromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replicas := rapid.Int32Range(1, 12).Draw(t, "replicas")
		surge := rapid.IntRange(0, 4).Draw(t, "surge")
		unavailable := rapid.IntRange(0, 4).Draw(t, "unavailable")
		w := newWorld(replicas, intstr.FromInt(surge), intstr.FromInt(unavailable))
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
		started := false
		for i := range 100 {
			if rapid.IntRange(0, 20).Draw(t, "change") == 0 && i < 60 {
				w.setImage(fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "image")))
			}
			w.step()
			total, available := w.total()
			if total > replicas+int32(surge) {
				t.Fatalf("%d pods of %d with a surge of %d", total, replicas, surge)
			}
			if started && available < replicas-int32(unavailable) {
				t.Fatalf("%d available of %d, of which %d may be unavailable", available, replicas, unavailable)
			}
			for _, set := range w.sets {
				w.settle(set, rapid.Int32Range(0, 2).Draw(t, "become available"))
			}
			if _, available := w.total(); available >= replicas {
				started = true
			}
			w.now = w.now.Add(time.Second)
		}
		for range 60 {
			w.step()
			for _, set := range w.sets {
				w.settle(set, 2)
			}
		}
		w.step()
		if !complete(w.d, w.d.Status) {
			t.Fatalf("the rollout does not end: %+v", w.d.Status)
		}
		if len(w.sets) > 1+int(*w.d.Spec.RevisionHistoryLimit) {
			t.Fatalf("%d sets are kept", len(w.sets))
		}
		if idle := w.step(); idle.create != nil || len(idle.update)+len(idle.remove)+len(idle.scaled) > 0 || idle.again != 0 {
			t.Fatalf("a finished rollout still plans %+v", idle)
		}
	})
}

func TestDeadline(t *testing.T) {
	w := newWorld(2, intstr.FromInt32(1), intstr.FromInt32(0))
	w.step()
	reason := func() string {
		if c := condition(w.d.Status, appsv1.DeploymentProgressing); c != nil {
			return c.Reason
		}
		return ""
	}
	for _, s := range []struct {
		after time.Duration
		want  string
	}{
		{0, "NewReplicaSetCreated"},
		{599 * time.Second, "NewReplicaSetCreated"},
		{2 * time.Second, "ProgressDeadlineExceeded"},
		{time.Hour, "ProgressDeadlineExceeded"},
	} {
		w.now = w.now.Add(s.after)
		w.step()
		if reason() != s.want {
			t.Errorf("at %v: %s, want %s", w.now, reason(), s.want)
		}
	}
	for range 4 {
		for _, set := range w.sets {
			w.settle(set, 2)
		}
		w.step()
	}
	if reason() != "NewReplicaSetAvailable" {
		t.Errorf("after all: %s", reason())
	}
}

func TestTheTimeOfAPauseDoesNotCount(t *testing.T) {
	w := newWorld(2, intstr.FromInt32(1), intstr.FromInt32(0))
	w.step()
	w.d.Spec.Paused = true
	w.step()
	w.now = w.now.Add(time.Hour)
	w.step()
	w.d.Spec.Paused = false
	w.step()
	if c := condition(w.d.Status, appsv1.DeploymentProgressing); c.Reason != "DeploymentResumed" {
		t.Errorf("%+v", c)
	}
}

func TestHashAndCollision(t *testing.T) {
	w := newWorld(1, intstr.FromInt32(1), intstr.FromInt32(0))
	template := &w.d.Spec.Template
	first := workload.TemplateHash(template, nil)
	if workload.TemplateHash(template.DeepCopy(), nil) != first {
		t.Error("equal templates have different hashes")
	}
	if workload.TemplateHash(template, p(int32(1))) == first {
		t.Error("a collision does not change the hash")
	}
	labelled := template.DeepCopy()
	labelled.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = first
	if !SameTemplate(template, labelled) {
		t.Error("the hash label makes templates differ")
	}
}
