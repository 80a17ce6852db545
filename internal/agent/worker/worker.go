package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/probe"
	"github.com/sinawi/sinawi/internal/agent/status"
)

// Pauses before something that failed is tried again.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// Worker brings one pod to what it shall be.
type Worker struct {
	deps Deps
	log  *slog.Logger
	uid  types.UID
	wake chan struct{}
	// beside are pulls and stops that run beside the loop.
	beside sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	pod      *corev1.Pod
	gone     bool               // from the API
	evicted  string             // why the pod must go; empty: it need not
	refresh  bool               // what the pod's volumes or environment show has changed
	giveUp   context.CancelFunc // ends what is done to start the pod
	state    *observed.Pod
	holds    *corev1.Pod // with the resources that were granted; nil: as pod
	shown    corev1.PodStatus
	pulls    map[string]*pull // by container name
	stopping map[string]bool  // by container ID

	// What follows belongs to the loop alone.
	reader     *observed.Reader
	probes     *probe.Group
	memory     plan.Memory
	problems   map[string]status.Problem // by container name
	retries    map[string]retry          // by container name; "" is the sandbox
	backoffs   map[string]time.Time      // ends of waits that were told of
	admitted   bool
	registered bool // with Content
	released   bool
	finished   bool
	fate       *status.Problem
	volumes    volumeState
	killing    *killing
	resizing   resizing
}

// New returns a worker for pod, to be run by Run.
func New(deps Deps, pod *corev1.Pod) *Worker {
	w := &Worker{
		deps: deps, uid: pod.UID, pod: pod,
		log:      deps.Log.With("namespace", pod.Namespace, "pod", pod.Name),
		wake:     make(chan struct{}, 1),
		giveUp:   func() {},
		pulls:    map[string]*pull{},
		stopping: map[string]bool{},
		reader:   observed.NewReader(deps.Runtime, deps.Messages),
		memory:   plan.Memory{Backoffs: map[string]plan.Backoff{}},
		problems: map[string]status.Problem{},
		retries:  map[string]retry{},
		backoffs: map[string]time.Time{},
	}
	w.probes = probe.NewGroup(probe.Options{Asker: deps.Asker, Changed: w.Wake, Unhealthy: w.unhealthy})
	return w
}

// Update tells of a newer version of the pod.
func (w *Worker) Update(pod *corev1.Pod) {
	w.mu.Lock()
	w.refresh = w.refresh || pod.Generation != w.pod.Generation || !sameMeta(w.pod, pod)
	w.pod = pod
	if pod.DeletionTimestamp != nil {
		w.giveUp()
	}
	w.mu.Unlock()
	w.Wake()
}

// Gone tells that the pod is no longer in the API.
func (w *Worker) Gone(last *corev1.Pod) {
	w.mu.Lock()
	if last != nil {
		w.pod = last
	}
	w.gone = true
	w.giveUp()
	w.mu.Unlock()
	w.Wake()
}

// Refresh tells that something which the pod refers to has changed.
func (w *Worker) Refresh() {
	w.mu.Lock()
	w.refresh = true
	w.mu.Unlock()
	w.Wake()
}

// Evict ends the pod for a reason that its owner is told. It may be called again.
func (w *Worker) Evict(why string) {
	w.mu.Lock()
	w.evicted = why
	w.mu.Unlock()
	w.Wake()
}

// Wake asks for a round.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Pod returns the pod with its newest status. It is read-only.
func (w *Worker) Pod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shown.Phase == "" {
		return w.pod
	}
	pod := *w.pod
	pod.Status = w.shown
	return &pod
}

// State returns what was last read of the runtime, nil before that. It is read-only.
func (w *Worker) State() *observed.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Run works until the pod is gone or ctx ends; the pod's containers go on then.
func (w *Worker) Run(ctx context.Context) {
	life, giveUp := context.WithCancel(ctx)
	w.mu.Lock()
	w.giveUp = giveUp
	if w.gone || w.pod.DeletionTimestamp != nil {
		giveUp()
	}
	w.mu.Unlock()
	defer func() {
		giveUp()
		w.probes.Stop()
		w.beside.Wait()
	}()
	for {
		next, done := w.round(ctx, life)
		if done || ctx.Err() != nil {
			return
		}
		if !w.sleep(ctx, next) {
			return
		}
	}
}

// sleep waits for a reason to look again; at zero there is none but being woken.
func (w *Worker) sleep(ctx context.Context, at time.Time) bool {
	var timer <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
	case <-timer:
	}
	return true
}

// moment is what one round works on.
type moment struct {
	pod     *corev1.Pod // with the newest status that was written
	gone    bool
	evicted string
	refresh bool
	state   *observed.Pod
	now     time.Time
}

// round is one turn of the loop. next is when to turn again if nothing happens.
func (w *Worker) round(ctx, life context.Context) (next time.Time, done bool) {
	w.mu.Lock()
	m := moment{pod: w.pod, gone: w.gone, evicted: w.evicted, refresh: w.refresh}
	w.refresh = false
	w.mu.Unlock()
	m.pod = w.deps.Report.Latest(m.pod)
	var err error
	if m.state, err = w.reader.Read(ctx, w.uid); err != nil {
		if ctx.Err() == nil {
			w.log.Warn("pod not read from the runtime, trying again", "err", err)
		}
		return time.Now().Add(retryFirst), false
	}
	m.now = time.Now()
	w.mu.Lock()
	w.state = m.state
	w.mu.Unlock()
	if w.fate == nil {
		w.fate = w.verdict(m)
	}
	w.grant(&m)
	if m.gone || m.pod.DeletionTimestamp != nil || w.fate != nil || status.Ended(m.pod.Status.Phase) {
		return w.end(ctx, m)
	}
	next = w.live(ctx, life, m)
	return earlier(earlier(next, w.deadline(m.pod)), w.resizing.again), false
}

// verdict ends a pod that the node does not take, that takes too much, or whose
// time is over.
func (w *Worker) verdict(m moment) *status.Problem {
	if !w.admitted {
		w.admitted = true
		runs := len(m.state.Sandboxes) > 0 || len(m.state.Containers) > 0 || len(m.pod.Status.ContainerStatuses) > 0
		if m.pod.DeletionTimestamp == nil && !status.Ended(m.pod.Status.Phase) {
			if refusal := w.deps.Admit(m.pod, runs); refusal != nil {
				w.event("", corev1.EventTypeWarning, refusal.Reason, refusal.Message)
				return &status.Problem{Reason: refusal.Reason, Message: "Pod was rejected: " + refusal.Message}
			}
		}
	}
	if m.evicted != "" && !status.Ended(m.pod.Status.Phase) {
		w.event("", corev1.EventTypeWarning, "Evicted", m.evicted)
		return &status.Problem{Reason: "Evicted", Message: m.evicted}
	}
	if at := w.deadline(m.pod); !at.IsZero() && !m.now.Before(at) && !status.Ended(m.pod.Status.Phase) {
		const message = "Pod was active on the node longer than the specified deadline"
		w.event("", corev1.EventTypeNormal, "DeadlineExceeded", message)
		return &status.Problem{Reason: "DeadlineExceeded", Message: message}
	}
	return nil
}

// deadline is when the pod's time is over, zero if never.
func (w *Worker) deadline(pod *corev1.Pod) time.Time {
	if pod.Spec.ActiveDeadlineSeconds == nil || pod.Status.StartTime == nil {
		return time.Time{}
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// live brings a pod that shall run one step further.
func (w *Worker) live(ctx, life context.Context, m moment) time.Time {
	if !w.registered || m.refresh {
		w.deps.Content.Register(m.pod)
		w.registered = true
	}
	if m.refresh {
		clear(w.retries)
		w.volumes.stale = true
	}
	w.probes.Sync(ctx, targets(m.pod, m.state, w.deps.HostIPs))
	actions := plan.Decide(plan.Input{Pod: m.pod, State: m.state, Health: w.probes.Health(), Memory: w.memory, Now: m.now})
	w.show(m, actions.Waits, false)
	w.tellWaits(actions.Waits)
	next := actions.Wake
	acted := false
	switch {
	case w.busyKilling():
		return next
	case actions.StopPod:
		w.kill(ctx, m, graceOf(m.pod))
		return next
	case actions.CreateSandbox:
		var again time.Time
		acted, again = w.prepare(ctx, life, m, actions.Attempt)
		next = earlier(next, again)
	default:
		for _, stop := range actions.Stops {
			w.stopOne(ctx, m.pod, stop)
		}
		next = earlier(next, w.refreshVolumes(life, m))
		resized := w.resize(ctx, m)
		var again time.Time
		acted, again = w.start(ctx, life, m, actions.Starts)
		acted = acted || resized
		next = earlier(next, again)
	}
	w.collect(ctx, m.state, &actions)
	if acted {
		return m.now
	}
	return next
}

// show computes the pod's status and has it written.
func (w *Worker) show(m moment, waits map[string]plan.Wait, stopped bool) corev1.PodStatus {
	live := isLive(m.state)
	in := status.Input{
		Pod: m.pod, State: m.state, Health: w.probes.Health(), Waits: waits, Problems: w.problems,
		Stopped: stopped || !live && plan.Terminal(m.pod, m.state), Fate: w.fate,
		ResizePending: w.resizing.pending, Changing: w.changing(m),
		HostIPs: w.deps.HostIPs, RuntimeName: w.deps.RuntimeName, Now: m.now,
	}
	out := status.Of(in)
	w.mu.Lock()
	w.shown = out
	w.mu.Unlock()
	if !m.gone && !w.finished {
		w.deps.Report.Set(m.pod, out)
	}
	return out
}

// isLive says whether anything of the pod is left to stop. A container that was
// made and never started goes with its sandbox.
func isLive(state *observed.Pod) bool {
	for i := range state.Sandboxes {
		if state.Sandboxes[i].Ready {
			return true
		}
	}
	for i := range state.Containers {
		if s := state.Containers[i].State; s == observed.Running || s == observed.Unknown {
			return true
		}
	}
	return false
}

// retry is something that failed and is tried again.
type retry struct {
	at    time.Time
	delay time.Duration
}

// failed notes that what belongs to name failed and returns when to try it again.
func (w *Worker) failed(name string) time.Time {
	r := w.retries[name]
	r.delay = min(max(2*r.delay, retryFirst), retryMost)
	r.at = time.Now().Add(r.delay)
	w.retries[name] = r
	return r.at
}

// paused returns when what belongs to name may be tried again, zero for now.
func (w *Worker) paused(name string, now time.Time) time.Time {
	if r, ok := w.retries[name]; ok && now.Before(r.at) {
		return r.at
	}
	return time.Time{}
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Knows says whether the worker's picture of the runtime is the given one: what
// there is of the pod, by ID, and whether it runs.
func (w *Worker) Knows(real map[string]bool) bool {
	state := w.State()
	if state == nil {
		return true // it is about to read
	}
	if len(real) != len(state.Sandboxes)+len(state.Containers) {
		return false
	}
	for i := range state.Sandboxes {
		if running, ok := real[state.Sandboxes[i].ID]; !ok || running != state.Sandboxes[i].Ready {
			return false
		}
	}
	for i := range state.Containers {
		if running, ok := real[state.Containers[i].ID]; !ok || running != (state.Containers[i].State == observed.Running) {
			return false
		}
	}
	return true
}
