package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Recorder tells users what the scheduler did, as events.
type Recorder interface {
	Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any)
}

// Options has the scheduler's settings; the zero value is the default profile.
type Options struct {
	// SchedulerName is the spec.schedulerName that this scheduler serves.
	SchedulerName string
	// Binders is how many bindings may be under way at once; 0 means 16.
	Binders int
}

// Scheduler places pods. Make one with New and run it once.
type Scheduler struct {
	client   client.Client
	cache    cache.Cache
	recorder Recorder
	name     string
	binders  int

	mail *mailbox.Mailbox[mailbox.Change] // of nodes, pods, outcomes, and objects that pods wait for
	// The loop alone uses what follows.
	engine  *engine.Engine
	queue   *queue
	binds   chan bind
	tell    *teller
	volumes bool // claims and volumes are watched
}

// New returns a scheduler that reads from ca and writes through c.
func New(c client.Client, ca cache.Cache, rec Recorder, opts Options) *Scheduler {
	s := &Scheduler{
		client: c, cache: ca, recorder: rec, name: opts.SchedulerName, binders: opts.Binders,
		mail: mailbox.New[mailbox.Change](), queue: newQueue(), binds: make(chan bind), tell: newTeller(c),
	}
	if s.name == "" {
		s.name = corev1.DefaultSchedulerName
	}
	if s.binders == 0 {
		s.binders = 16
	}
	s.engine = engine.New(s.namespaceLabels)
	return s
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.watch(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for range s.binders {
		g.Go(func() error { return s.bindAll(ctx) })
	}
	g.Go(func() error { return s.tell.run(ctx) })
	g.Go(func() error { return s.loop(ctx) })
	return g.Wait()
}

// watch makes every change of a pod or node a letter in the mailbox, and
// returns when all that exists has been delivered.
func (s *Scheduler) watch(ctx context.Context) error {
	nodes, err := s.cache.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	pods, err := s.cache.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	nodeHandler, err := nodes.AddEventHandler(mailbox.Handler(s.mail))
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	podHandler, err := pods.AddEventHandler(mailbox.Handler(s.mail))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	if !toolscache.WaitFor(ctx, "", nodeHandler.HasSyncedChecker(), podHandler.HasSyncedChecker()) {
		return ctx.Err()
	}
	return nil
}

func (s *Scheduler) loop(ctx context.Context) error {
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	for {
		s.read(s.mail.Take())
		if left := s.queue.due(time.Now()); left > 0 {
			pause.Reset(left)
		}
		if w := s.queue.pop(); w != nil {
			if err := s.schedule(ctx, w); err != nil {
				return nil
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.mail.Ready():
		case <-pause.C:
		}
	}
}

// read takes in what happened, then wakes pods that it may have helped.
func (s *Scheduler) read(letters []mailbox.Change) {
	changed := false
	for _, l := range letters {
		switch obj := l.Object.(type) {
		case *corev1.Node:
			if l.Deleted {
				s.engine.RemoveNode(obj.Name)
				changed = true
			} else if s.engine.SetNode(obj) {
				changed = true
			}
		case *corev1.Pod:
			changed = s.readPod(obj, l.Deleted) || changed
		case outcome:
			changed = s.readOutcome(obj) || changed
		default:
			// Volumes and claims: they matter to pods that wait for them.
			changed = true
		}
	}
	if changed {
		s.queue.wake(s.mayFit)
	}
}

// mayFit says whether parked pods of a class are worth another try.
func (s *Scheduler) mayFit(key engine.Key) bool {
	for _, w := range s.queue.parked[key] {
		if !w.free {
			return true
		}
	}
	return s.engine.Feasible(key)
}

func (s *Scheduler) readPod(pod *corev1.Pod, deleted bool) bool {
	ended := deleted || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case ended:
		s.queue.remove(pod.UID)
		return s.engine.RemovePod(pod.UID)
	case pod.Spec.NodeName != "":
		s.queue.remove(pod.UID)
		return s.engine.SetPod(pod, pod.Spec.NodeName)
	case !s.responsible(pod):
		s.queue.remove(pod.UID)
		return false
	default:
		s.queue.set(pod, time.Now())
		return false
	}
}

// responsible says whether this scheduler should look for a node for pod now.
func (s *Scheduler) responsible(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == s.name && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

// schedule finds a place for one pod and hands it to a binder, or parks it. The
// only error is the context's.
func (s *Scheduler) schedule(ctx context.Context, w *waiting) error {
	if s.engine.NodeOf(w.pod.UID) != "" {
		return nil // being bound already
	}
	ask, problem := s.ask(ctx, w.pod)
	key := s.engine.KeyOf(ask)
	if problem != "" {
		s.unschedulable(w, key, problem, false)
		return nil
	}
	node, ok := s.engine.Place(ask)
	if !ok {
		message := s.engine.Explain(ask).Message()
		s.unschedulable(w, key, message, len(ask.Extras) == 0)
		return nil
	}
	s.engine.SetPod(w.pod, node)
	select {
	case s.binds <- bind{pod: w.pod, node: node}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unschedulable parks a pod and tells its user why, when that is news.
func (s *Scheduler) unschedulable(w *waiting, key engine.Key, message string, free bool) {
	s.queue.park(w, key, free)
	if w.told == message {
		return
	}
	w.told = message
	slog.Debug("pod does not fit", "pod", client.ObjectKeyFromObject(w.pod), "why", message)
	s.recorder.Eventf(w.pod, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", message)
	s.tell.unschedulable(w.pod, message)
}

func (s *Scheduler) namespaceLabels(name string) map[string]string {
	// The rule that asks is evaluated inside the loop; the cache answers from
	// memory once its informer has synced.
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	var ns corev1.Namespace
	if err := s.cache.Get(ctx, types.NamespacedName{Name: name}, &ns); err != nil {
		return nil
	}
	return ns.Labels
}
