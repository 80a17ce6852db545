package controllers_test

import (
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: meta(name),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: selector("app", name), Template: template("app", name),
			RevisionHistoryLimit: ptr(int32(2)), ProgressDeadlineSeconds: ptr(int32(600)),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
		},
	}
}

// complete says whether a rollout is done, as kubectl rollout status does.
func complete(d *appsv1.Deployment) error {
	s, n := d.Status, *d.Spec.Replicas
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != n || s.Replicas != n || s.AvailableReplicas != n {
		return fmt.Errorf("generation %d, status %+v", d.Generation, s)
	}
	return nil
}

func (e *env) awaitRollout(d *appsv1.Deployment) {
	e.Helper()
	e.eventually("rollout", func() error { return complete(get(e, d)) })
}

func (e *env) sets(name string) map[string]appsv1.ReplicaSet {
	e.Helper()
	var list appsv1.ReplicaSetList
	if err := e.List(e.ctx, &list, client.InNamespace("default"), client.MatchingLabels{"app": name}); err != nil {
		e.Fatal(err)
	}
	byImage := map[string]appsv1.ReplicaSet{}
	for _, set := range list.Items {
		byImage[set.Spec.Template.Spec.Containers[0].Image] = set
	}
	return byImage
}

func setImage(image string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image }
}

func TestRollingUpdateAndRollback(t *testing.T) {
	e := start(t)
	e.run("app", "web")
	d := newDeployment("web", 4)
	e.create(d)
	e.awaitRollout(d)
	change(e, d, setImage("image:2"))
	e.awaitRollout(d)
	if r := get(e, d).Annotations["deployment.kubernetes.io/revision"]; r != "2" {
		t.Errorf("revision %s, want 2", r)
	}
	for _, pod := range e.awaitPods(4, "app", "web") {
		if image := pod.Spec.Containers[0].Image; image != "image:2" {
			t.Errorf("pod %s runs %s", pod.Name, image)
		}
	}
	if g := get(e, d).Generation; g != 2 {
		t.Errorf("generation %d after one change: the controller's own writes count", g)
	}
	// What kubectl rollout undo does: the old set's template, which comes back as
	// a new revision of the same set.
	change(e, d, setImage("image:1"))
	e.awaitRollout(d)
	sets := e.sets("web")
	first := sets["image:1"]
	if len(sets) != 2 || first.Annotations["deployment.kubernetes.io/revision"] != "3" ||
		first.Annotations["deployment.kubernetes.io/revision-history"] != "1" {
		t.Errorf("%d sets, the first with %v", len(sets), first.Annotations)
	}
	for _, image := range []string{"image:3", "image:4", "image:5"} {
		change(e, d, setImage(image))
		e.awaitRollout(d)
	}
	e.eventually("the history's limit", func() error {
		if n := len(e.sets("web")); n != 3 {
			return fmt.Errorf("%d sets", n)
		}
		return nil
	})
}

func TestPausedDeploymentScalesButDoesNotRoll(t *testing.T) {
	e := start(t)
	e.run("app", "web")
	d := newDeployment("web", 2)
	e.create(d)
	e.awaitRollout(d)
	change(e, d, func(d *appsv1.Deployment) {
		d.Spec.Paused = true
		setImage("image:2")(d)
		d.Spec.Replicas = ptr(int32(3))
	})
	e.awaitPods(3, "app", "web")
	if sets := e.sets("web"); len(sets) != 1 {
		t.Errorf("a paused deployment has %d sets", len(sets))
	}
	change(e, d, func(d *appsv1.Deployment) { d.Spec.Paused = false })
	e.awaitRollout(d)
	if n := *e.sets("web")["image:2"].Spec.Replicas; n != 3 {
		t.Errorf("new set of %d, want 3", n)
	}
}

func TestStuckRolloutKeepsOldPodsAndSaysSo(t *testing.T) {
	e := start(t)
	d := newDeployment("web", 4)
	d.Spec.ProgressDeadlineSeconds = ptr(int32(2))
	d.Spec.MinReadySeconds = 1
	e.create(d)
	for _, pod := range e.awaitPods(4, "app", "web") {
		e.setPhase(pod, corev1.PodRunning, true)
	}
	e.awaitRollout(d)
	change(e, d, setImage("broken"))
	e.eventually("the deadline", func() error {
		for _, c := range get(e, d).Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" && c.Status == corev1.ConditionFalse {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", d.Status.Conditions)
	})
	if d.Status.AvailableReplicas < 3 {
		t.Errorf("%d available, want 3 of 4", d.Status.AvailableReplicas)
	}
	sets := e.sets("web")
	if old, next := *sets["image:1"].Spec.Replicas, *sets["broken"].Spec.Replicas; old != 3 || next != 2 {
		t.Errorf("old set %d, new set %d, want 3 and 2", old, next)
	}
	// Scaling in the middle is shared out.
	change(e, d, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr(int32(8)) })
	e.eventually("proportions", func() error {
		sets := e.sets("web")
		old, next := *sets["image:1"].Spec.Replicas, *sets["broken"].Spec.Replicas
		if old+next != 10 || old < 6 {
			return fmt.Errorf("old set %d, new set %d", old, next)
		}
		return nil
	})
}

func TestRecreateWaitsForOldPods(t *testing.T) {
	e := start(t)
	e.node("one")
	d := newDeployment("web", 2)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	e.create(d)
	for _, pod := range e.awaitPods(2, "app", "web") {
		// A pod that ends before any node has it is failed by the pod collector,
		// and a failed pod is none to wait for.
		e.bind(pod, "one")
		change(e, &pod, func(p *corev1.Pod) { p.Finalizers = []string{"example.com/hold"} })
		e.setPhase(pod, corev1.PodRunning, true)
	}
	change(e, d, setImage("image:2"))
	e.awaitPods(0, "app", "web")
	old := e.pods("app", "web")
	if len(old) != 2 {
		t.Fatalf("%d old pods, want 2 on their way out", len(old))
	}
	if _, made := e.sets("web")["image:2"]; made {
		t.Error("the new set exists while old pods run")
	}
	for _, pod := range old {
		change(e, &pod, func(p *corev1.Pod) { p.Finalizers = nil })
		if err := e.Delete(e.ctx, &pod, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range e.awaitPods(2, "app", "web") {
		if image := pod.Spec.Containers[0].Image; image != "image:2" {
			t.Errorf("pod of %s", image)
		}
	}
}

func TestReplicaSetAdoptsAndReleases(t *testing.T) {
	e := start(t)
	orphan := &corev1.Pod{ObjectMeta: meta("orphan"), Spec: template("", "").Spec}
	orphan.Labels = map[string]string{"app": "set"}
	e.create(orphan)
	set := &appsv1.ReplicaSet{
		ObjectMeta: meta("set"),
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr(int32(2)), Selector: selector("app", "set"), Template: template("app", "set")},
	}
	e.create(set)
	pods := e.awaitPods(2, "app", "set")
	if ref := metav1.GetControllerOf(get(e, orphan)); ref == nil || ref.UID != set.UID {
		t.Errorf("orphan is controlled by %v", ref)
	}
	change(e, orphan, func(p *corev1.Pod) { p.Labels["app"] = "free" })
	e.eventually("release", func() error {
		if metav1.GetControllerOf(get(e, orphan)) != nil {
			return errors.New("still controlled")
		}
		return nil
	})
	e.awaitPods(2, "app", "set")
	change(e, set, func(s *appsv1.ReplicaSet) { s.Spec.Replicas = ptr(int32(0)) })
	e.awaitPods(0, "app", "set")
	for i := range pods {
		if pods[i].Name != "orphan" {
			e.gone(&pods[i])
		}
	}
	if get(e, orphan).DeletionTimestamp != nil {
		t.Error("a released pod was deleted")
	}
}
