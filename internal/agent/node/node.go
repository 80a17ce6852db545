package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Paces, as kubelet's.
const (
	checkPeriod     = 10 * time.Second // how often the machine is looked at
	reportPeriod    = 5 * time.Minute  // how often an unchanged status is written
	unreadyPeriod   = 200 * time.Millisecond
	unreadyPatience = 30 * time.Second // how long the first readiness is awaited closely
	requestTimeout  = 10 * time.Second
	retryFirst      = 100 * time.Millisecond
	retryMost       = 5 * time.Second
)

// Deps are what a Node works with.
type Deps struct {
	Client  kubernetes.Interface
	Runtime cri.RuntimeServiceClient
	// Images lists the images on the node, biggest first; nil is none.
	Images func(ctx context.Context) ([]corev1.ContainerImage, error)
	Log    *slog.Logger
}

// Options say which node this is.
type Options struct {
	Name string
	IPs  []netip.Addr
	// Port is where the node's own API is served.
	Port int
	// Dir is on the file system that pods write to.
	Dir     string
	Labels  map[string]string
	Version string // as kubeletVersion
	MaxPods int    // 0: 110
	// Machine is what does not change; the zero value reads it.
	Machine *Machine
}

const defaultMaxPods = 110

// Node is the API's picture of this machine.
type Node struct {
	deps    Deps
	options Options
	machine Machine

	wake chan struct{}

	mu      sync.Mutex // guards the fields below
	current *corev1.Node
}

// New reads the machine.
func New(deps Deps, options Options) (*Node, error) {
	if options.Name == "" || len(options.IPs) == 0 {
		return nil, errors.New("node: name and addresses are required")
	}
	if options.MaxPods == 0 {
		options.MaxPods = defaultMaxPods
	}
	n := &Node{deps: deps, options: options, wake: make(chan struct{}, 1)}
	if options.Machine != nil {
		n.machine = *options.Machine
		return n, nil
	}
	var err error
	n.machine, err = ReadMachine(options.Dir)
	return n, err
}

// Machine is what the machine is and has.
func (n *Node) Machine() Machine { return n.machine }

// Allocatable is what pods may ask for.
func (n *Node) Allocatable() corev1.ResourceList { return n.machine.allocatable(n.options.MaxPods) }

// Current returns the node as it was last written, nil before it was and after it was deleted.
func (n *Node) Current() *corev1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.current
}

// Changed asks for the status to be looked at now, as after a pull.
func (n *Node) Changed() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Gone says that somebody deleted this version of the node: it registers again.
func (n *Node) Gone(deleted *corev1.Node) {
	n.mu.Lock()
	if n.current != nil && n.current.UID == deleted.UID {
		n.current = nil
	}
	n.mu.Unlock()
	n.Changed()
}

// Run registers the node and reports on it until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { n.renew(ctx) })
	err := n.report(ctx)
	running.Wait()
	return err
}

func (n *Node) report(ctx context.Context) error {
	if err := n.register(ctx); err != nil {
		return err
	}
	began := time.Now()
	var written time.Time
	retry := retryFirst
	for {
		status := n.status(ctx)
		due := time.Since(written) >= reportPeriod
		wait := checkPeriod
		if due || n.differs(&status) {
			if err := n.write(ctx, status); err != nil {
				n.deps.Log.Warn("node status not written, trying again", "err", err)
				wait = retry
				retry = min(2*retry, retryMost)
			} else {
				written, retry = time.Now(), retryFirst
			}
		}
		if !ready(&status) && time.Since(began) < unreadyPatience {
			// Starting up: whoever waits for the node shall not wait for our pace.
			wait = min(wait, unreadyPeriod)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-n.wake:
			timer.Stop()
		}
	}
}

// register creates the node, or finds it, and sets the labels that are the node's own.
func (n *Node) register(ctx context.Context) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := n.tryRegister(ctx)
		if err == nil {
			return nil
		}
		n.deps.Log.Warn("node not registered, trying again", "node", n.options.Name, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (n *Node) tryRegister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	nodes := n.deps.Client.CoreV1().Nodes()
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.options.Name, Labels: n.labels(), Annotations: map[string]string{
			"volumes.kubernetes.io/controller-managed-attach-detach": "true",
		}},
		Status: n.status(ctx),
	}
	made, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.deps.Log.Info("node registered", "node", n.options.Name)
		n.keep(made)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node %s: %w", n.options.Name, err)
	}
	have, err := nodes.Get(ctx, n.options.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read node %s: %w", n.options.Name, err)
	}
	n.keep(have)
	labels := map[string]string{}
	for key, value := range want.Labels {
		if have.Labels[key] != value {
			labels[key] = value
		}
	}
	if len(labels) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	have, err = nodes.Patch(ctx, n.options.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("label node %s: %w", n.options.Name, err)
	}
	n.keep(have)
	return nil
}

func (n *Node) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:      n.options.Name,
		corev1.LabelOSStable:      n.machine.OS,
		corev1.LabelArchStable:    n.machine.Arch,
		"beta.kubernetes.io/os":   n.machine.OS,
		"beta.kubernetes.io/arch": n.machine.Arch,
	}
	maps.Copy(labels, n.options.Labels)
	return labels
}

func (n *Node) keep(node *corev1.Node) {
	n.mu.Lock()
	n.current = node
	n.mu.Unlock()
}

// differs says whether the status is news, apart from heartbeats.
func (n *Node) differs(status *corev1.NodeStatus) bool {
	current := n.Current()
	if current == nil {
		return true
	}
	a, b := current.Status.DeepCopy(), status.DeepCopy()
	for _, s := range []*corev1.NodeStatus{a, b} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return !equality.Semantic.DeepEqual(a, b)
}

// write patches the status; a node that was deleted registers again.
func (n *Node) write(ctx context.Context, status corev1.NodeStatus) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	current := n.Current()
	if current == nil {
		return n.tryRegister(ctx)
	}
	before, err := json.Marshal(corev1.Node{Status: current.Status})
	if err != nil {
		return err
	}
	after, err := json.Marshal(corev1.Node{Status: status})
	if err != nil {
		return err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return err
	}
	patch, err = wholeAddresses(patch, current.Status.Addresses, status.Addresses)
	if err != nil {
		return err
	}
	written, err := n.deps.Client.CoreV1().Nodes().Patch(ctx, n.options.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return n.tryRegister(ctx)
	}
	if err != nil {
		// What the API has may have changed under us.
		if have, getErr := n.deps.Client.CoreV1().Nodes().Get(ctx, n.options.Name, metav1.GetOptions{}); getErr == nil {
			n.keep(have)
		}
		return fmt.Errorf("write status of node %s: %w", n.options.Name, err)
	}
	n.keep(written)
	return nil
}

// wholeAddresses makes a patch replace all addresses: merged by type, two of one
// type would become one.
func wholeAddresses(patch []byte, before, after []corev1.NodeAddress) ([]byte, error) {
	if equality.Semantic.DeepEqual(before, after) {
		return patch, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, err
	}
	status, ok := fields["status"].(map[string]any)
	if !ok {
		return patch, nil
	}
	list := []any{map[string]any{"$patch": "replace"}}
	for _, a := range after {
		list = append(list, map[string]any{"type": string(a.Type), "address": a.Address})
	}
	status["addresses"] = list
	delete(status, "$setElementOrder/addresses")
	return json.Marshal(fields)
}
