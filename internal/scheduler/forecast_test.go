package scheduler_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// What is forecast is what comes: pods without constraints are spread by what they
// belong to, though one node has the most room by far.
func TestForecastIsWhatComes(t *testing.T) {
	const pods = 7
	r := start(t)
	var objects []client.Object
	for i, cpu := range []string{"32", "4", "8"} {
		objects = append(objects, r.addNode(fmt.Sprintf("n%d", i), cpu))
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	like := func(p *corev1.Pod) { p.Labels = selector.MatchLabels }
	owner := r.addReplicaSet("web", selector)
	for i := range pods {
		r.addPod(fmt.Sprintf("web-%d", i), "100m", func(p *corev1.Pod) {
			like(p)
			p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		})
	}
	got := map[string]int{}
	for i := range pods {
		got[r.await(fmt.Sprintf("web-%d", i), "bound", bound).Spec.NodeName]++
	}
	example := r.get("web-0")
	example.Spec.NodeName = ""
	forecast := outlook.New(objects).Plan([]outlook.Workload{
		{Kind: "Deployment", Namespace: "default", Name: "web", Count: pods, Selector: selector, Pod: example},
	})[0].On
	if !maps.Equal(got, forecast) || len(got) < 3 {
		t.Errorf("pods are on %v, forecast were %v", got, forecast)
	}
}

// addReplicaSet makes a replica set that nobody makes pods for, and waits until the
// scheduler's cache has it.
func (r *rig) addReplicaSet(name string, selector *metav1.LabelSelector) *appsv1.ReplicaSet {
	r.Helper()
	set, err := r.AppsV1().ReplicaSets("default").Create(r.ctx, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: selector.MatchLabels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	var seen appsv1.ReplicaSet
	for until := time.Now().Add(time.Minute); r.cache.Get(r.ctx, client.ObjectKeyFromObject(set), &seen) != nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			r.Fatalf("replica set %s is not seen", name)
		}
	}
	return set
}
