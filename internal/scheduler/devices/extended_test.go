package devices

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

const gpu = corev1.ResourceName("example.com/gpu")

// container is one that asks for amounts of resources: "cpu=1 example.com/gpu=2".
func container(name, asks string) corev1.Container {
	c := corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}
	for _, ask := range strings.Fields(asks) {
		key, amount, _ := strings.Cut(ask, "=")
		c.Resources.Requests[corev1.ResourceName(key)] = resource.MustParse(amount)
	}
	return c
}

func sidecar(name, asks string) corev1.Container {
	c, always := container(name, asks), corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func podOf(inits []corev1.Container, containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{InitContainers: inits, Containers: containers}}
}

func class(name string, age time.Duration, offers corev1.ResourceName) *resourcev1.DeviceClass {
	c := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age))}}
	c.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "d"`}}}
	if offers != "" {
		c.Spec.ExtendedResourceName = (*string)(&offers)
	}
	return c
}

func nodeWith(name string, own string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{}}}
	if own != "" {
		n.Status.Allocatable[gpu] = resource.MustParse(own)
	}
	return n
}

func slice(node string, names ...string) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "d", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}}}
	for _, name := range names {
		s.Spec.Devices = append(s.Spec.Devices, resourcev1.Device{Name: name})
	}
	return s
}

func TestWhichClassOffersAResource(t *testing.T) {
	w := New()
	for _, step := range []struct {
		name    string
		class   *resourcev1.DeviceClass
		deleted bool
		want    string
		renamed bool
	}{
		{"the only one", class("b", time.Hour, gpu), false, "b", true},
		{"an older one", class("a", 2*time.Hour, gpu), false, "b", true},
		{"one as old", class("ab", time.Hour, gpu), false, "ab", true},
		{"a newer one", class("c", 0, gpu), false, "c", true},
		{"it is changed", class("c", 0, gpu), false, "c", false},
		{"it offers another", class("c", 0, "example.com/nic"), false, "ab", true},
		{"it goes", class("c", 0, "example.com/nic"), true, "ab", true},
		{"another goes", class("ab", time.Hour, gpu), true, "b", true},
	} {
		w.Set(step.class, step.deleted)
		if got := w.classFor(gpu); got == nil || got.Name != step.want {
			t.Errorf("%s: %v, want %s", step.name, got, step.want)
		}
		asks := w.Renamed()
		if (asks != nil) != step.renamed {
			t.Errorf("%s: names are new: %v", step.name, asks != nil)
		}
		other := podOf(nil, container("c", "cpu=1"))
		its := podOf(nil, container("c", resourcev1.ResourceDeviceClassPrefix+step.class.Name+"=1"))
		if asks != nil && (asks(other) || !asks(its)) {
			t.Errorf("%s: of a pod without resources %v, of its own %v", step.name, asks(other), asks(its))
		}
	}
	if c := w.classFor(corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix + "a")); c == nil || c.Name != "a" {
		t.Errorf("by its own name it is %v", c)
	}
}

func TestRequestsOfContainers(t *testing.T) {
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		want string // name=count of requests; container:resource:request of uses
	}{
		{"one", podOf(nil, container("a", "cpu=1 example.com/gpu=2")), "container-0-request-1=2; a:gpu:container-0-request-1"},
		{"two", podOf(nil, container("a", "example.com/gpu=2"), container("b", "example.com/gpu=1")),
			"container-0-request-0=2 container-1-request-0=1; a:gpu:container-0-request-0 b:gpu:container-1-request-0"},
		{"none of one", podOf(nil, container("a", "example.com/gpu=0"), container("b", "cpu=1"), container("c", "example.com/gpu=1")),
			"container-2-request-0=1; c:gpu:container-2-request-0"},
		{"two resources", podOf(nil, container("a", "example.com/gpu=1 example.com/nic=3")),
			"container-0-request-0=1 container-0-request-1=3; a:gpu:container-0-request-0 a:nic:container-0-request-1"},
		{"an init container shares with what comes after", podOf([]corev1.Container{container("i", "example.com/gpu=2")}, container("a", "example.com/gpu=2")),
			"container-1-request-0=2; a:gpu:container-1-request-0 i:gpu:container-1-request-0"},
		{"of several only what it needs", podOf([]corev1.Container{container("i", "example.com/gpu=1")}, container("a", "example.com/gpu=1"), container("b", "example.com/gpu=1")),
			"container-1-request-0=1 container-2-request-0=1; a:gpu:container-1-request-0 b:gpu:container-2-request-0 i:gpu:container-1-request-0"},
		{"it needs more", podOf([]corev1.Container{container("i", "example.com/gpu=5")}, container("a", "example.com/gpu=2")),
			"container-0-request-0=3 container-1-request-0=2; a:gpu:container-1-request-0 i:gpu:container-1-request-0 i:gpu:container-0-request-0"},
		{"two need more, one after the other", podOf([]corev1.Container{container("i", "example.com/gpu=3"), container("j", "example.com/gpu=4")}, container("a", "example.com/gpu=2")),
			"container-1-request-0=2 container-2-request-0=2; a:gpu:container-2-request-0 i:gpu:container-2-request-0 i:gpu:container-1-request-0 j:gpu:container-2-request-0 j:gpu:container-1-request-0"},
		{"not with a sidecar before it", podOf([]corev1.Container{sidecar("s", "example.com/gpu=1"), container("i", "example.com/gpu=1")}, container("a", "cpu=1")),
			"container-0-request-0=1 container-1-request-0=1; s:gpu:container-0-request-0 i:gpu:container-1-request-0"},
		{"with a sidecar after it", podOf([]corev1.Container{container("i", "example.com/gpu=1"), sidecar("s", "example.com/gpu=1")}, container("a", "cpu=1")),
			"container-1-request-0=1; s:gpu:container-1-request-0 i:gpu:container-1-request-0"},
	} {
		x := &extended{pod: tt.pod, classes: map[corev1.ResourceName]string{gpu: "gpu", "example.com/nic": "nic"}}
		requests, uses := x.requests([]corev1.ResourceName{gpu, "example.com/nic"})
		var r, u []string
		for _, one := range requests {
			if one.Exactly.DeviceClassName == "" || one.Exactly.AllocationMode != resourcev1.DeviceAllocationModeExactCount {
				t.Errorf("%s: request %+v", tt.name, one.Exactly)
			}
			r = append(r, fmt.Sprintf("%s=%d", one.Name, one.Exactly.Count))
		}
		for _, one := range uses {
			u = append(u, one.ContainerName+":"+strings.TrimPrefix(one.ResourceName, "example.com/")+":"+one.RequestName)
		}
		if got := strings.Join(r, " ") + "; " + strings.Join(u, " "); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// view shows a node to a plan as an engine does.
func view(t *testing.T, node *corev1.Node, ask func(engine.NodeView)) {
	t.Helper()
	e := engine.New(func(string) map[string]string { return nil })
	n := node.DeepCopy()
	n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1")
	e.SetNode(n)
	e.Place(engine.Ask{Pod: podOf(nil), Extras: []engine.Extra{asked(ask)}})
}

type asked func(engine.NodeView)

func (a asked) Refuse(n engine.NodeView) []engine.Refusal { a(n); return nil }

func TestNodesForResourcesThatAreDevices(t *testing.T) {
	for _, tt := range []struct {
		name  string
		node  *corev1.Node
		asks  string
		left  bool
		want  string
		claim bool
	}{
		{"devices", nodeWith("n", ""), "example.com/gpu=2", false, "", true},
		{"too few", nodeWith("n", ""), "example.com/gpu=3", false, reasonNone, false},
		{"its own first", nodeWith("n", "3"), "example.com/gpu=3", false, "", false},
		{"it has had some", nodeWith("n", "0"), "example.com/gpu=1", false, "", true},
		{"of another kind nothing", nodeWith("n", ""), "example.com/gpu=1 example.com/nic=1", false, reasonNotHere, false},
		{"an earlier claim", nodeWith("n", ""), "example.com/gpu=1", true, reasonLeftover, false},
		{"elsewhere", nodeWith("m", ""), "example.com/gpu=1", false, reasonNone, false},
	} {
		w := New()
		w.Set(class("gpu", 0, gpu), false)
		w.Set(slice("n", "0", "1"), false)
		pod, yes := podOf(nil, container("c", tt.asks)), true
		if tt.left {
			w.Set(&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "left", UID: "l",
				Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
				OwnerReferences: []metav1.OwnerReference{{UID: pod.UID, Controller: &yes}}}}, false)
		}
		plan, problem := w.Plan(pod)
		if problem != "" || !plan.Delegated()[gpu] || len(plan.Delegated()) != 1 || (plan.Leftover() != nil) != tt.left {
			t.Fatalf("%s: %s, %v", tt.name, problem, plan)
		}
		view(t, tt.node, func(n engine.NodeView) {
			got := ""
			if refusals := plan.Refuse(n); len(refusals) > 0 {
				got = refusals[0].Reason
			}
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		})
		if tt.want != "" {
			continue
		}
		d, err := plan.Decide(tt.node)
		if err != nil || (len(d.Claims) == 1) != tt.claim || tt.claim && d.Claims[0].Uses == nil {
			t.Errorf("%s: %+v, %v", tt.name, d, err)
		}
	}
	if plan, problem := New().Plan(podOf(nil, container("c", "example.com/gpu=1"))); plan != nil || problem != "" {
		t.Errorf("no class offers it: %v, %s", plan, problem)
	}
}

// What is about to be written counts as taken, and is counted once when it is.
func TestDevicesOfAClaimThatIsMadeAreTaken(t *testing.T) {
	w := New()
	w.Set(class("gpu", 0, gpu), false)
	w.Set(slice("n", "0", "1", "2"), false)
	pod := podOf(nil, container("c", "example.com/gpu=2"))
	other := pod.DeepCopy()
	other.UID = "other"
	taken := func() (out int64) {
		plan, problem := w.Plan(other)
		if problem != "" {
			t.Fatal(problem)
		}
		view(t, nodeWith("n", ""), func(n engine.NodeView) {
			total, k := plan.Stock(n, gpu)
			if total != 3 {
				t.Errorf("%d devices of 3", total)
			}
			out = k
		})
		view(t, nodeWith("elsewhere", ""), func(n engine.NodeView) {
			if total, _ := plan.Stock(n, gpu); total != 0 {
				t.Errorf("%d devices of another node", total)
			}
		})
		return out
	}
	plan, _ := w.Plan(pod)
	d, err := plan.Decide(nodeWith("n", ""))
	if err != nil || len(d.Claims) != 1 {
		t.Fatal(d, err)
	}
	steps := []int64{taken()}
	w.Assume(pod, d)
	steps = append(steps, taken())
	made := d.Claims[0].Object.DeepCopy()
	made.Name, made.UID = "made", "real"
	w.Set(made.DeepCopy(), false)
	steps = append(steps, taken())
	made.Status.Allocation = d.Claims[0].Allocation
	w.Set(made, false)
	steps = append(steps, taken())
	w.Forget(pod.UID)
	steps = append(steps, taken())
	w.Free(pod.UID)
	steps = append(steps, taken())
	if want := []int64{0, 2, 2, 2, 2, 0}; !slices.Equal(steps, want) {
		t.Errorf("taken %v, want %v", steps, want)
	}
}
