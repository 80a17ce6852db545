package workload

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var setKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// cluster has one owner and pods; it refuses to write those in refused.
type cluster struct {
	client.Client
	owner   *appsv1.ReplicaSet
	pods    []corev1.Pod
	refused map[string]error
	written map[string]int // number of owners after the write, by pod
}

func (c *cluster) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	asked := (&client.ListOptions{}).ApplyOptions(opts)
	value, _ := asked.FieldSelector.RequiresExactMatch(ownerIndex)
	for _, pod := range c.pods {
		if controller(&pod) == value && pod.Namespace == asked.Namespace {
			list.(*corev1.PodList).Items = append(list.(*corev1.PodList).Items, pod)
		}
	}
	return nil
}

func (c *cluster) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	c.owner.DeepCopyInto(obj.(*appsv1.ReplicaSet))
	return nil
}

func (c *cluster) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.PatchOption) error {
	if err := c.refused[obj.GetName()]; err != nil {
		return err
	}
	c.written[obj.GetName()] = len(obj.GetOwnerReferences())
	return nil
}

func set(uid types.UID) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "set", UID: uid}}
}

func pod(name, app string, owner client.Object) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Labels: map[string]string{"app": app}}}
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, setKind)}
	}
	return p
}

func claimed(c *cluster, may func(*corev1.Pod) bool) ([]string, error) {
	claimer := &Claimer{
		Client: c, Cache: c, Owner: c.owner, Kind: setKind,
		Selector: labels.SelectorFromSet(labels.Set{"app": "web"}),
	}
	pods, err := Claimed(context.Background(), claimer, &corev1.PodList{}, may)
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	return names, err
}

func TestClaimed(t *testing.T) {
	owner := set("1")
	elsewhere := pod("elsewhere", "web", nil)
	elsewhere.Namespace = "b"
	c := &cluster{owner: owner, written: map[string]int{}, pods: []corev1.Pod{
		pod("kept", "web", owner), pod("left", "mail", owner), pod("orphan", "web", nil),
		pod("strange", "mail", nil), pod("foreign", "web", set("2")), pod("passed", "web", nil), elsewhere,
	}}
	got, err := claimed(c, func(p *corev1.Pod) bool { return p.Name != "passed" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kept", "orphan"}, got); diff != "" {
		t.Errorf("claimed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"left": 0, "orphan": 1}, c.written); diff != "" {
		t.Errorf("owners written (-want +got):\n%s", diff)
	}
}

func TestOneThatCannotBeClaimedDoesNotHinderOthers(t *testing.T) {
	refusal := errors.New("no")
	c := &cluster{owner: set("1"), written: map[string]int{}, refused: map[string]error{"first": refusal},
		pods: []corev1.Pod{pod("first", "web", nil), pod("second", "web", nil)}}
	got, err := claimed(c, nil)
	if !errors.Is(err, refusal) {
		t.Errorf("error is %v, want the refusal in it", err)
	}
	if diff := cmp.Diff([]string{"second"}, got); diff != "" {
		t.Errorf("claimed (-want +got):\n%s", diff)
	}
}

func TestDeletedOwnerAdoptsNothing(t *testing.T) {
	c := &cluster{owner: set("1"), written: map[string]int{}, pods: []corev1.Pod{pod("orphan", "web", nil)}}
	stale := &Claimer{Client: c, Cache: c, Owner: set("0"), Kind: setKind, Selector: labels.Everything()}
	got, err := Claimed[*corev1.Pod](context.Background(), stale, &corev1.PodList{}, nil)
	if err == nil || len(got) > 0 || len(c.written) > 0 {
		t.Errorf("claimed %d with error %v, wrote %v; want a refusal", len(got), err, c.written)
	}
}
