package simnode

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
)

const (
	leaseEvery  = 10 * time.Second
	leaseLasts  = 40 * time.Second
	retry       = 50 * time.Millisecond // while the API server is away
	workers     = 8
	defaultStop = 20 * time.Millisecond
)

// Event is the start or the end of a pod's containers, as the node sees it.
type Event struct {
	Pod     *corev1.Pod
	Running bool
	// Code is the exit code, of an end.
	Code int32
}

// Options vary the nodes; the zero value will do.
type Options struct {
	// Stop is how long containers take to stop; default 20 ms.
	Stop time.Duration
	// Seen, if set, hears of every start and end, one at a time and in order.
	Seen func(Event)
}

// Nodes are simulated nodes.
type Nodes struct {
	client kubernetes.Interface
	stop   time.Duration
	seen   func(Event)
	queue  workqueue.TypedDelayingInterface[types.UID]

	mu    sync.Mutex // guards the fields below
	names []string
	pods  map[types.UID]*container
}

// New returns a set without nodes.
func New(client kubernetes.Interface, opts Options) *Nodes {
	return &Nodes{
		client: client, stop: cmp.Or(opts.Stop, defaultStop), seen: opts.Seen,
		queue: workqueue.NewTypedDelayingQueue[types.UID](),
		pods:  map[types.UID]*container{},
	}
}

// Add registers a node with labels. Its pods run once Run does.
func (n *Nodes) Add(ctx context.Context, name string, labels map[string]string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}}}
	maps.Copy(node.Labels, labels)
	if _, err := n.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("register node %s: %w", name, err)
	}
	status, err := json.Marshal(map[string]any{"status": nodeStatus(time.Now(), corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("500"),
	})})
	if err != nil {
		return fmt.Errorf("encode status of node %s: %w", name, err)
	}
	if err := n.renew(ctx, name); err != nil {
		return err
	}
	if _, err := n.client.CoreV1().Nodes().PatchStatus(ctx, name, status); err != nil {
		return fmt.Errorf("report node %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = append(n.names, name)
	return nil
}

// Run runs the nodes until ctx ends. While the API server does not answer, it
// goes on trying.
func (n *Nodes) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.watch(ctx) })
	group.Go(func() error { return n.heartbeat(ctx) })
	for range workers {
		group.Go(func() error { return n.work(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		n.queue.ShutDown()
		return nil
	})
	return group.Wait()
}

// heartbeat renews all leases.
func (n *Nodes) heartbeat(ctx context.Context) error {
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n.mu.Lock()
		names := slices.Clone(n.names)
		n.mu.Unlock()
		for _, name := range names {
			_ = n.renew(ctx, name) // the server is away: the next beat will do
		}
	}
}

func (n *Nodes) renew(ctx context.Context, name string) error {
	api := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, lasts := metav1.NowMicro(), int32(leaseLasts/time.Second)
	lease, err := api.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &now, LeaseDurationSeconds: &lasts},
		}, metav1.CreateOptions{})
	case err == nil:
		lease.Spec.RenewTime = &now
		_, err = api.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renew lease of node %s: %w", name, err)
	}
	return nil
}

// watch keeps the pods of all nodes up to date, across restarts of the server.
func (n *Nodes) watch(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := n.follow(ctx); err != nil {
			wait(ctx, retry)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// follow lists all pods and then watches them, until the watch ends.
func (n *Nodes) follow(ctx context.Context) error {
	api := n.client.CoreV1().Pods(metav1.NamespaceAll)
	list, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	n.replace(list.Items)
	w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		switch {
		case !ok:
			return apierrors.FromObject(e.Object)
		case e.Type == watch.Deleted:
			n.gone(pod.UID)
		default:
			n.update(pod)
		}
	}
	return nil
}

func (n *Nodes) replace(pods []corev1.Pod) {
	there := map[types.UID]bool{}
	for i := range pods {
		there[pods[i].UID] = true
		n.update(&pods[i])
	}
	n.mu.Lock()
	var lost []types.UID
	for uid := range n.pods {
		if !there[uid] {
			lost = append(lost, uid)
		}
	}
	n.mu.Unlock()
	for _, uid := range lost {
		n.gone(uid)
	}
}

func (n *Nodes) update(pod *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.names, pod.Spec.NodeName) {
		return
	}
	c := n.pods[pod.UID]
	if c == nil {
		c = &container{}
		n.pods[pod.UID] = c
	}
	c.pod = pod
	n.queue.Add(pod.UID)
}

func (n *Nodes) gone(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.pods[uid]; c != nil {
		c.lost = true
		n.queue.Add(uid)
	}
}

func (n *Nodes) work(ctx context.Context) error {
	for {
		uid, down := n.queue.Get()
		if down {
			return nil
		}
		again, err := n.sync(ctx, uid)
		if err != nil {
			again = retry
		}
		if again > 0 {
			n.queue.AddAfter(uid, again)
		}
		n.queue.Done(uid)
	}
}
