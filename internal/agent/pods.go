package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sinawi/sinawi/internal/agent/admit"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/worker"
)

// watchPods gives every pod of the node a worker. It returns when the pods that
// there are have theirs.
func (a *Agent) watchPods(ctx context.Context) error {
	// Environments are made of services: the first pod shall not wait for them.
	if _, err := a.deps.Cache.GetInformer(ctx, &corev1.Service{}); err != nil && ctx.Err() == nil {
		return fmt.Errorf("watch services: %w", err)
	}
	informer, err := a.deps.Cache.GetInformer(ctx, &corev1.Pod{})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("watch pods: %w", err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.put(ctx, obj) },
		UpdateFunc: func(_, obj any) { a.put(ctx, obj) },
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				a.gone(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) })
	if !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil
	}
	return nil
}

// watchNode notices when somebody deletes the node: a machine that runs pods has one.
func (a *Agent) watchNode(ctx context.Context) error {
	informer, err := a.deps.Cache.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("watch the node: %w", err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if node, ok := obj.(*corev1.Node); ok && node.Name == a.options.NodeName {
				a.node.Gone(node)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch the node: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = informer.RemoveEventHandler(registration) })
	return nil
}

// put hands a version of a pod to its worker.
func (a *Agent) put(ctx context.Context, obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName != a.options.NodeName {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if w, ok := a.workers[pod.UID]; ok {
		w.Update(pod)
		return
	}
	w := worker.New(a.shared, pod)
	a.workers[pod.UID] = w
	a.running.Go(func() {
		w.Run(ctx)
		a.mu.Lock()
		delete(a.workers, pod.UID)
		a.mu.Unlock()
		a.admission.Lock()
		delete(a.taken, pod.UID)
		a.admission.Unlock()
	})
}

func (a *Agent) gone(pod *corev1.Pod) {
	if w := a.worker(pod.UID); w != nil {
		w.Gone(pod)
	}
}

func (a *Agent) worker(uid types.UID) *worker.Worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

// all returns the workers there are now.
func (a *Agent) all() map[types.UID]*worker.Worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[types.UID]*worker.Worker, len(a.workers))
	for uid, w := range a.workers {
		out[uid] = w
	}
	return out
}

func (a *Agent) contentChanged(uid types.UID) {
	if w := a.worker(uid); w != nil {
		w.Refresh()
	}
}

// wake tells the worker of the pod that an event is about.
func (a *Agent) wake(event *cri.ContainerEventResponse) {
	if uid := event.GetPodSandboxStatus().GetMetadata().GetUid(); uid != "" {
		if w := a.worker(types.UID(uid)); w != nil {
			w.Wake()
		}
	}
}

func (a *Agent) wakeAll() {
	for _, w := range a.all() {
		w.Wake()
	}
}

// admit says why the node does not take pod beside those that it has; one that
// runs already it has taken. Whoever asks first is served first.
func (a *Agent) admit(pod *corev1.Pod, runs bool) *admit.Refusal {
	a.admission.Lock()
	defer a.admission.Unlock()
	if !runs {
		if refusal := admit.Check(pod, a.others(pod.UID), a.self()); refusal != nil {
			return refusal
		}
	}
	a.taken[pod.UID] = true
	return nil
}

// resize says why the node does not grant a pod that it has what it asks for now.
func (a *Agent) resize(pod *corev1.Pod) *admit.Refusal {
	a.admission.Lock()
	defer a.admission.Unlock()
	return admit.Resize(pod, a.others(pod.UID), a.self())
}

// others are the pods that the node has taken besides one. a.admission is held.
func (a *Agent) others(uid types.UID) []*corev1.Pod {
	var out []*corev1.Pod
	for id, w := range a.all() {
		if phase := w.Pod().Status.Phase; id != uid && a.taken[id] && phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			out = append(out, w.Holds())
		}
	}
	return out
}

// self is the node as it is judged, nil before it is known.
func (a *Agent) self() *corev1.Node {
	current := a.node.Current()
	if current == nil {
		return nil
	}
	node := *current
	node.Status.Allocatable = a.node.Allocatable()
	for name, quantity := range current.Status.Allocatable {
		if _, ok := node.Status.Allocatable[name]; !ok {
			node.Status.Allocatable[name] = quantity
		}
	}
	return &node
}

func (a *Agent) imagesInUse() []string {
	var out []string
	for _, w := range a.all() {
		pod := w.Pod()
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				out = append(out, list[i].Image)
			}
		}
		for i := range pod.Spec.Volumes {
			if source := pod.Spec.Volumes[i].Image; source != nil {
				out = append(out, source.Reference)
			}
		}
	}
	return out
}

// Pods returns the node's pods with their newest status, in the order of their
// names. They are read-only.
func (a *Agent) Pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.all() {
		out = append(out, w.Pod())
	}
	slices.SortFunc(out, func(x, y *corev1.Pod) int {
		if c := strings.Compare(x.Namespace, y.Namespace); c != 0 {
			return c
		}
		return strings.Compare(x.Name, y.Name)
	})
	return out
}

// Pod returns one of the node's pods.
func (a *Agent) Pod(namespace, name string) (*corev1.Pod, bool) {
	var found *corev1.Pod
	for _, w := range a.all() {
		// Of two of one name the older is on its way out.
		if pod := w.Pod(); pod.Namespace == namespace && pod.Name == name {
			if found == nil || found.CreationTimestamp.Before(&pod.CreationTimestamp) {
				found = pod
			}
		}
	}
	return found, found != nil
}

// State returns what was last read of a pod in the runtime. It is read-only.
func (a *Agent) State(uid types.UID) (*observed.Pod, bool) {
	if w := a.worker(uid); w != nil {
		if state := w.State(); state != nil {
			return state, true
		}
	}
	return nil, false
}
