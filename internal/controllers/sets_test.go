package controllers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (e *env) names(label, value string) []string {
	e.Helper()
	var out []string
	for _, pod := range e.pods(label, value) {
		if pod.DeletionTimestamp == nil {
			out = append(out, pod.Name)
		}
	}
	slices.Sort(out)
	return out
}

func (e *env) awaitNames(label, value string, want ...string) {
	e.Helper()
	e.eventually(fmt.Sprintf("pods %v", want), func() error {
		if got := e.names(label, value); !slices.Equal(got, want) {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

func newStatefulSet(name string, replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: meta(name),
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: selector("db", name), Template: template("db", name), ServiceName: "peers",
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity("1Gi")}},
				},
			}},
		},
	}
}

func TestStatefulSetComesUpInOrderAndGoesDownInReverse(t *testing.T) {
	e := start(t)
	set := newStatefulSet("db", 3)
	e.create(set)
	ready := func(name string) {
		pod := get(e, &corev1.Pod{ObjectMeta: meta(name)})
		e.setPhase(*pod, corev1.PodRunning, true)
	}
	e.awaitNames("db", "db", "db-0")
	ready("db-0")
	e.awaitNames("db", "db", "db-0", "db-1")
	ready("db-1")
	e.awaitNames("db", "db", "db-0", "db-1", "db-2")
	ready("db-2")
	e.eventually("status", func() error {
		s := get(e, set).Status
		if s.ReadyReplicas != 3 || s.CurrentReplicas != 3 || s.CurrentRevision != s.UpdateRevision {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	pod := get(e, &corev1.Pod{ObjectMeta: meta("db-1")})
	if pod.Spec.Hostname != "db-1" || pod.Spec.Subdomain != "peers" || pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-1" {
		t.Errorf("hostname %s, subdomain %s, volumes %+v", pod.Spec.Hostname, pod.Spec.Subdomain, pod.Spec.Volumes)
	}
	claim := get(e, &corev1.PersistentVolumeClaim{ObjectMeta: meta("data-db-1")})
	if claim.Labels["db"] != "db" || len(claim.OwnerReferences) != 0 {
		t.Errorf("claim with labels %v, owners %v", claim.Labels, claim.OwnerReferences)
	}
	change(e, set, func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr(int32(1)) })
	e.awaitNames("db", "db", "db-0")
	if get(e, claim).DeletionTimestamp != nil {
		t.Error("the claim went with its pod though the policy is to retain it")
	}
}

// A set that is deleted without its pods, and made again, has the same revision: another
// would replace all pods.
func TestSetMadeAgainKeepsItsPods(t *testing.T) {
	e := start(t)
	e.run("db", "db")
	e.create(newStatefulSet("db", 2))
	before := e.awaitPods(2, "db", "db")
	set := get(e, newStatefulSet("db", 2))
	if err := e.Delete(e.ctx, set, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	e.gone(set)
	e.create(newStatefulSet("db", 2))
	e.eventually("status", func() error {
		if s := get(e, newStatefulSet("db", 2)).Status; s.UpdatedReplicas != 2 || s.CurrentRevision != s.UpdateRevision {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	var revisions appsv1.ControllerRevisionList
	if err := e.List(e.ctx, &revisions, client.InNamespace("default")); err != nil || len(revisions.Items) != 1 {
		t.Errorf("%d revisions, %v", len(revisions.Items), err)
	}
	for _, pod := range before {
		if now := get(e, &corev1.Pod{ObjectMeta: meta(pod.Name)}); now.UID != pod.UID {
			t.Errorf("pod %s was replaced", pod.Name)
		}
	}
}

func TestStatefulSetSaysWhyAClaimCannotBe(t *testing.T) {
	e := start(t)
	quota := &corev1.ResourceQuota{ObjectMeta: meta("none"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"persistentvolumeclaims": quantity("0")}}}
	e.create(quota)
	e.eventually("quota", func() error {
		if len(get(e, quota).Status.Hard) == 0 {
			return errors.New("not measured yet")
		}
		return nil
	})
	e.create(newStatefulSet("db", 1))
	const why = `persistentvolumeclaims "data-db-0" is forbidden: exceeded quota: none, requested: persistentvolumeclaims=1, used: persistentvolumeclaims=0, limited: persistentvolumeclaims=0`
	for _, want := range []string{
		"Create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: " + why,
		"Create Pod db-0 in StatefulSet db failed error: failed to create PVC data-db-0: " + why,
	} {
		e.eventually("event", func() error {
			var list corev1.EventList
			if err := e.List(e.ctx, &list, client.InNamespace("default")); err != nil {
				return err
			}
			for _, event := range list.Items {
				if event.Reason == "FailedCreate" && event.Message == want {
					return nil
				}
			}
			return fmt.Errorf("no event %q of %d", want, len(list.Items))
		})
	}
}

func TestStatefulSetRollsFromTheTopDownToThePartition(t *testing.T) {
	e := start(t)
	e.run("db", "db")
	set := newStatefulSet("db", 3)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set.Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr(int32(1))}
	e.create(set)
	e.awaitNames("db", "db", "db-0", "db-1", "db-2")
	images := func() string {
		var out string
		for _, name := range []string{"db-0", "db-1", "db-2"} {
			pod := &corev1.Pod{ObjectMeta: meta(name)}
			if e.Get(e.ctx, keyOf(pod), pod) == nil {
				out += pod.Spec.Containers[0].Image + " "
			}
		}
		return out
	}
	await := func(want string) {
		t.Helper()
		e.eventually("images", func() error {
			if got := images(); got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	change(e, set, func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "image:2" })
	await("image:1 image:2 image:2 ")
	change(e, set, func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = ptr(int32(0)) })
	await("image:2 image:2 image:2 ")
	e.eventually("status", func() error {
		s := get(e, set).Status
		if s.UpdatedReplicas != 3 || s.CurrentRevision != s.UpdateRevision {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	var revisions appsv1.ControllerRevisionList
	if err := e.List(e.ctx, &revisions, client.MatchingLabels{"db": "db"}); err != nil || len(revisions.Items) != 2 {
		t.Errorf("%d revisions, %v", len(revisions.Items), err)
	}
}

func TestDaemonSetFollowsNodes(t *testing.T) {
	e := start(t)
	stopA := e.beat("a")
	e.beat("b")
	_ = stopA
	set := &appsv1.DaemonSet{
		ObjectMeta: meta("agent"),
		Spec:       appsv1.DaemonSetSpec{Selector: selector("ds", "agent"), Template: template("ds", "agent")},
	}
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr(intstr.FromInt32(1))},
	}
	e.awaitTaints("a")
	e.awaitTaints("b")
	e.create(set)
	nodesOf := func() []string {
		var out []string
		for _, pod := range e.pods("ds", "agent") {
			terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			out = append(out, terms[0].MatchFields[0].Values[0]+" "+pod.Spec.Containers[0].Image)
		}
		slices.Sort(out)
		return out
	}
	await := func(want ...string) {
		t.Helper()
		e.eventually("daemons", func() error {
			if got := nodesOf(); !slices.Equal(got, want) {
				return fmt.Errorf("%v, want %v", got, want)
			}
			return nil
		})
	}
	await("a image:1", "b image:1")
	e.run("ds", "agent")
	e.eventually("status", func() error {
		s := get(e, set).Status
		if s.DesiredNumberScheduled != 2 || s.NumberReady != 2 || s.NumberAvailable != 2 || s.UpdatedNumberScheduled != 2 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	e.beat("c")
	await("a image:1", "b image:1", "c image:1")
	change(e, set, func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = "image:2" })
	await("a image:2", "b image:2", "c image:2")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
	change(e, node, func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "example.com/private", Effect: corev1.TaintEffectNoExecute})
	})
	await("a image:2", "c image:2")
	change(e, set, func(s *appsv1.DaemonSet) {
		s.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "fast"}
	})
	await()
	change(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, func(n *corev1.Node) { n.Labels = map[string]string{"disk": "fast"} })
	await("c image:2")
}

func TestReplicationController(t *testing.T) {
	e := start(t)
	rc := &corev1.ReplicationController{ObjectMeta: meta("old")}
	pods := template("rc", "old")
	rc.Spec = corev1.ReplicationControllerSpec{Replicas: ptr(int32(2)), Selector: map[string]string{"rc": "old"}, Template: &pods}
	e.create(rc)
	e.run("rc", "old")
	e.eventually("status", func() error {
		if s := get(e, rc).Status; s.ReadyReplicas != 2 || s.Replicas != 2 || s.ObservedGeneration != rc.Generation {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	for _, pod := range e.pods("rc", "old") {
		if ref := metav1.GetControllerOf(&pod); ref == nil || ref.Kind != "ReplicationController" || ref.UID != rc.UID {
			t.Errorf("pod %s is controlled by %v", pod.Name, ref)
		}
	}
	change(e, rc, func(r *corev1.ReplicationController) { r.Spec.Replicas = ptr(int32(1)) })
	e.awaitPods(1, "rc", "old")
}

func TestDisruptionBudgetCountsPods(t *testing.T) {
	e := start(t)
	e.run("app", "web")
	d := newDeployment("web", 4)
	e.create(d)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: meta("web"),
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector("app", "web"), MaxUnavailable: ptr(intstr.FromString("50%"))},
	}
	e.create(budget)
	await := func(expected, healthy, allowed int32) {
		t.Helper()
		e.eventually("budget", func() error {
			s := get(e, budget).Status
			if s.ExpectedPods != expected || s.CurrentHealthy != healthy || s.DisruptionsAllowed != allowed || len(s.Conditions) != 1 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	await(4, 4, 2)
	change(e, d, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr(int32(6)) })
	await(6, 6, 3)
	pod := &corev1.Pod{ObjectMeta: meta("lost"), Spec: template("app", "web").Spec}
	pod.Labels = map[string]string{"app": "web"}
	owner := &corev1.ConfigMap{ObjectMeta: meta("owner")}
	e.create(owner)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
	e.create(pod)
	e.eventually("a pod whose controller has no scale closes the budget", func() error {
		s := get(e, budget).Status
		if s.DisruptionsAllowed != 0 || s.Conditions[0].Reason != policyv1.SyncFailedReason || s.Conditions[0].Message != "configmaps does not implement the scale subresource" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func TestCronJobMakesAJob(t *testing.T) {
	e := start(t)
	cron := &batchv1.CronJob{
		ObjectMeta: meta("tick"),
		Spec: batchv1.CronJobSpec{
			Schedule: "@every 1s", ConcurrencyPolicy: batchv1.ForbidConcurrent,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template("cron", "tick")}},
		},
	}
	cron.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	e.create(cron)
	e.awaitPods(1, "cron", "tick")
	e.eventually("status", func() error {
		if s := get(e, cron).Status; len(s.Active) != 1 || s.LastScheduleTime == nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	job := get(e, &batchv1.Job{ObjectMeta: meta(cron.Status.Active[0].Name)})
	if !metav1.IsControlledBy(job, cron) || job.Annotations[batchv1.CronJobScheduledTimestampAnnotation] == "" {
		t.Errorf("job with owners %v, annotations %v", job.OwnerReferences, job.Annotations)
	}
}

func TestClusterRolesArePutTogether(t *testing.T) {
	e := start(t)
	rule := func(resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{resource}, Verbs: []string{"get"}}}
	}
	part := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "part", Labels: map[string]string{"into": "whole"}}, Rules: rule("things")}
	whole := &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "whole"},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{*selector("into", "whole")}},
	}
	e.create(whole, part)
	await := func(n int) {
		t.Helper()
		e.eventually("rules", func() error {
			if got := get(e, whole).Rules; len(got) != n {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
	}
	await(1)
	change(e, part, func(r *rbacv1.ClusterRole) { r.Rules = append(r.Rules, rule("others")...) })
	await(2)
	if err := e.Client.Delete(e.ctx, part); err != nil {
		t.Fatal(err)
	}
	await(0)
}

// The users' roles gather from each other: what one gets goes on to the next.
func TestUserRolesGather(t *testing.T) {
	e := start(t)
	e.create(&rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "see-widgets", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"x.io"}, Resources: []string{"widgets"}}},
	})
	for _, name := range []string{"view", "edit", "admin"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		e.eventually(name+" sees widgets", func() error {
			for _, rule := range get(e, role).Rules {
				if slices.Contains(rule.Resources, "widgets") {
					return nil
				}
			}
			return errors.New("no such rule")
		})
	}
}

func TestQuotaIsMeasured(t *testing.T) {
	e := start(t)
	e.create(configMap("one"))
	q := &corev1.ResourceQuota{
		ObjectMeta: meta("limit"),
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourcePods: quantity("10"), corev1.ResourceRequestsCPU: quantity("10"), "count/deployments.apps": quantity("5"),
		}},
	}
	e.create(q)
	await := func(pods, cpu, deployments string) {
		t.Helper()
		e.eventually("used", func() error {
			used := get(e, q).Status.Used
			for name, want := range map[corev1.ResourceName]string{corev1.ResourcePods: pods, corev1.ResourceRequestsCPU: cpu, "count/deployments.apps": deployments} {
				if n := used[name]; n.Cmp(quantity(want)) != 0 {
					return fmt.Errorf("%s: %s, want %s", name, n.String(), want)
				}
			}
			return nil
		})
	}
	await("0", "0", "0")
	d := newDeployment("web", 2)
	d.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: quantity("500m")}
	e.create(d)
	await("2", "1", "1")
	change(e, d, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr(int32(1)) })
	await("1", "500m", "1")
	e.delete(d, metav1.DeletePropagationBackground)
	await("0", "0", "0")
}
