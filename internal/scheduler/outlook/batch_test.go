package outlook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
)

func grouped(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &name} }
}

func queued(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[batchv1.QueueLabel] = name }
}

func TestWhyNamesGroupAndQueue(t *testing.T) {
	group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "g"}}
	group.Spec.SchedulingPolicy.Gang = &schedulingv1beta1.GangSchedulingPolicy{MinCount: 2}
	full := &batchv1.Queue{ObjectMeta: metav1.ObjectMeta{Name: "q"}}
	full.Spec.Quota = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	one, two := pod("one", "2", grouped("g")), pod("two", "2", grouped("g"))
	for _, tc := range []struct {
		name    string
		objects []client.Object
		pod     *corev1.Pod
		want    string
	}{
		{"no group", []client.Object{node("n", "3")}, one, `waiting for pod group "g" to be created`},
		{"too few", []client.Object{node("n", "3"), group}, one, "1 of at least 2 are there"},
		{"not at once", []client.Object{node("n", "3"), group, two}, one, "2 more of its pods must fit at once"},
		{"at once", []client.Object{node("n", "4"), group, two}, one, ""},
		{"no queue", []client.Object{node("n", "4")}, pod("p", "1", queued("q")), `there is no queue "q"`},
		{"room", []client.Object{node("n", "4"), full}, pod("p", "1", queued("q")), ""},
		{"full", []client.Object{node("n", "4"), full, pod("o", "2", queued("q"), on("n"))}, pod("p", "1", queued("q")), `queue "q" is full`},
	} {
		c := New(append(tc.objects, tc.pod))
		for range 2 { // asking changes nothing
			got := c.Why(tc.pod).Held
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
			}
		}
	}
}
