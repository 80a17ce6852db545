package outlook

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/devices"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/kin"
	"github.com/sinawi/sinawi/internal/scheduler/storage"
)

// Cluster is the picture that questions are asked of.
type Cluster struct {
	engine  *engine.Engine
	storage *storage.World
	devices *devices.World
	kin     *kin.World
	profile *engine.Profile            // of pods whose scheduler is not known
	known   map[string]*engine.Profile // by spec.schedulerName

	nodes      map[string]*corev1.Node
	pods       map[types.UID]*corev1.Pod
	namespaces map[string]map[string]string
	budgets    []*policyv1.PodDisruptionBudget
	groups     map[types.NamespacedName]*schedulingv1beta1.PodGroup
	book       *fair.Book
	takes      map[string]labels.Selector // by queue, the namespaces that it takes, unless all
}

// New makes a picture of objects: nodes, pods, namespaces, disruption budgets, services,
// owners of pods, and whatever volumes and devices are made of. What placement does not look at is left out.
func New(objects []client.Object) *Cluster {
	c := &Cluster{
		storage: storage.New(), devices: devices.New(), kin: kin.New(),
		profile: engine.DefaultProfile(), known: map[string]*engine.Profile{},
		nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, namespaces: map[string]map[string]string{},
		groups: map[types.NamespacedName]*schedulingv1beta1.PodGroup{}, book: fair.NewBook(), takes: map[string]labels.Selector{},
	}
	c.engine = engine.New(func(namespace string) map[string]string { return c.namespaces[namespace] })
	var pods []*corev1.Pod
	for _, obj := range objects {
		switch o := obj.(type) {
		case *corev1.Node:
			c.nodes[o.Name] = o
			c.engine.SetNode(o)
		case *corev1.Namespace:
			c.namespaces[o.Name] = o.Labels
		case *corev1.Pod:
			pods = append(pods, o)
		case *policyv1.PodDisruptionBudget:
			c.budgets = append(c.budgets, o)
		case *schedulingv1beta1.PodGroup:
			c.groups[client.ObjectKeyFromObject(o)] = o
		case *batchv1.Queue:
			if s, err := metav1.LabelSelectorAsSelector(o.Spec.NamespaceSelector); err == nil && o.Spec.NamespaceSelector != nil {
				c.takes[o.Name] = s
			}
			c.book.Set(fair.Queue{
				Name: o.Name, Cohort: o.Spec.Cohort, Weight: o.Spec.Weight,
				Quota: fair.AmountsOf(o.Spec.Quota), Limit: fair.AmountsOf(o.Spec.Limit),
			})
		default:
			if !c.storage.Set(obj, false) && !c.devices.Set(obj, false) {
				c.kin.Set(obj, false)
			}
		}
	}
	for _, pod := range pods {
		c.pods[pod.UID] = pod
		switch {
		case ended(pod):
		case pod.Spec.NodeName != "":
			c.count(pod, pod.Spec.NodeName)
			c.charge(pod)
		case pod.Status.NominatedNodeName != "":
			c.engine.Nominate(pod, pod.Status.NominatedNodeName)
		}
	}
	return c
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// count takes a pod as being on a node.
func (c *Cluster) count(pod *corev1.Pod, node string) {
	c.engine.SetPod(pod, node)
	c.storage.SetPod(pod)
}

// forget takes a pod off its node.
func (c *Cluster) forget(uid types.UID) {
	c.engine.RemovePod(uid)
	c.storage.RemovePod(uid)
	c.devices.Free(uid)
	delete(c.pods, uid)
}

// question is a pod ready for the engine; problem is why no node need be asked.
type question struct {
	engine.Ask
	volumes *storage.Plan
	devices *devices.Plan
	problem string
	rule    engine.Rule
}

// Use makes pods be placed by the profile that they name.
func (c *Cluster) Use(profiles ...*engine.Profile) {
	for _, p := range profiles {
		c.known[p.Name] = p
	}
}

// profileOf is how a pod is placed: by the default where nobody knows better.
func (c *Cluster) profileOf(pod *corev1.Pod) *engine.Profile {
	if p := c.known[cmp.Or(pod.Spec.SchedulerName, corev1.DefaultSchedulerName)]; p != nil {
		return p
	}
	return c.profile
}

func (c *Cluster) ask(pod *corev1.Pod) question {
	profile := c.profileOf(pod)
	q := question{Ask: engine.Ask{Pod: pod, Profile: profile}}
	if len(pod.Spec.TopologySpreadConstraints) == 0 && len(profile.DefaultSpread) > 0 {
		q.Spread = c.kin.Of(pod)
	}
	if !profile.Off[engine.RuleNodeAffinity] && demand.NamesNoNode(pod) {
		q.problem, q.rule = demand.NamesConflict, engine.RuleNodeAffinity
		return q
	}
	if len(pod.Spec.Volumes) > 0 {
		if q.volumes, q.problem = c.storage.Plan(pod, profile); q.problem != "" {
			q.rule = engine.RuleVolumeBinding
			return q
		}
		if q.volumes != nil {
			q.Extras = append(q.Extras, q.volumes)
		}
	}
	if devices.Asks(pod) && !profile.Off[engine.RuleDevices] {
		if q.devices, q.problem = c.devices.Plan(pod); q.problem != "" {
			q.rule = engine.RuleDevices
			return q
		}
		if q.devices != nil {
			q.Extras, q.Delegated = append(q.Extras, q.devices), q.devices.Delegated()
		}
	}
	return q
}

// place puts a pod where the scheduler would, and counts it there.
func (c *Cluster) place(pod *corev1.Pod) (string, bool) {
	q := c.ask(pod)
	if q.problem != "" {
		return "", false
	}
	name, ok := c.engine.Place(q.Ask)
	if !ok {
		return "", false
	}
	node := c.engine.Node(name)
	if q.volumes != nil {
		c.storage.Assume(pod, q.volumes.Decide(node))
	}
	if q.devices != nil {
		decision, err := q.devices.Decide(node)
		if err != nil {
			return "", false
		}
		c.devices.Assume(pod, decision)
	}
	c.pods[pod.UID] = pod
	c.count(pod, name)
	return name, true
}

// Owner names what a pod belongs to.
type Owner struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func ownerOf(pod *corev1.Pod) *Owner {
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		return &Owner{Kind: ref.Kind, Name: ref.Name}
	}
	return nil
}

// on are the pods on a node, in the order of their names.
func (c *Cluster) on(node string) []*corev1.Pod {
	pods := slices.Clone(c.engine.PodsOn(node))
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}
