package scheduler

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/batch"
	"github.com/sinawi/sinawi/internal/scheduler/config"
	"github.com/sinawi/sinawi/internal/scheduler/devices"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/kin"
	"github.com/sinawi/sinawi/internal/scheduler/storage"
)

// Recorder tells users what the scheduler did, as events.
type Recorder interface {
	Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any)
}

// Options has the scheduler's settings; the zero value is the default profile.
type Options struct {
	// SchedulerName is the spec.schedulerName that the first profile serves.
	SchedulerName string
	// Config has the profiles; nil is kube-scheduler's defaults.
	Config *config.Config
	// Binders is how many bindings may be under way at once; 0 means 64.
	Binders int
	// Decisions keeps what is decided; nil: nobody does.
	Decisions Decisions
	// Register offers the metrics to whoever serves them; nil: nobody does.
	Register func(metrics.Registerable) error
}

// Scheduler places pods. Make one with New and run it once.
type Scheduler struct {
	client   client.Client
	cache    cache.Cache
	recorder Recorder
	profiles map[string]*config.Profile
	binders  int
	decided  Decisions

	mail *mailbox.Mailbox[mailbox.Change] // of nodes, pods, outcomes, and objects that pods wait for
	// The loop alone uses what follows.
	engine    *engine.Engine
	queue     *backlog.Queue
	storage   *storage.World
	devices   *devices.World
	kin       *kin.World
	budgets   budgets
	batch     *batch.Batch
	preparing map[types.UID]*preparation
	watchNext time.Time                      // when watching what batch needs is tried again
	evicting  map[types.UID]*backlog.Waiting // victims that are not gone, and for whom they go
	ready     []bind                         // prepared, to be bound
	newcomers []newcomer                     // who wait to be stored
	unseen    *unseen                        // newcomers that have a node

	binds    chan bind
	errands  *errands
	tell     *teller
	announce *announcer
	reports  *reporter
	measured *measures
	watching map[string]bool // groups of kinds that are watched since a pod needed them
	placing  atomic.Bool     // the loop answers newcomers
}

// New returns a scheduler that reads from ca and writes through c.
func New(c client.Client, ca cache.Cache, rec Recorder, opts Options) *Scheduler {
	settings := config.Default()
	if opts.Config != nil {
		settings = *opts.Config
	}
	s := &Scheduler{
		client: c, cache: ca, recorder: rec, decided: opts.Decisions, binders: opts.Binders, profiles: map[string]*config.Profile{},
		mail: mailbox.New[mailbox.Change](), queue: backlog.New(settings.InitialBackoff, settings.MaxBackoff),
		storage: storage.New(), devices: devices.New(), kin: kin.New(), budgets: budgets{}, reports: newReporter(),
		preparing: map[types.UID]*preparation{}, evicting: map[types.UID]*backlog.Waiting{}, unseen: newUnseen(),
		binds: make(chan bind, 256), errands: newErrands(maxErrands), tell: newTeller(c), announce: newAnnouncer(c), watching: map[string]bool{},
	}
	s.batch = batch.New(s.queue, s.namespaceLabels)
	for i := range settings.Profiles {
		p := settings.Profiles[i]
		if i == 0 && opts.SchedulerName != "" {
			p.Name = opts.SchedulerName
		}
		s.profiles[p.Name] = &p
	}
	if s.binders == 0 {
		s.binders = 64
	}
	s.engine = engine.New(s.namespaceLabels)
	s.measured = newMeasures(opts.Register)
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
	g.Go(func() error { return s.announce.run(ctx) })
	g.Go(func() error { return s.reports.run(ctx) })
	g.Go(func() error { return s.errands.run(ctx) })
	g.Go(func() error { return s.loop(ctx) })
	return g.Wait()
}

func (s *Scheduler) loop(ctx context.Context) error {
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	s.placing.Store(true)
	defer s.placing.Store(false)
	for {
		now := time.Now()
		s.read(s.mail.Take(), now)
		s.watchBatch(ctx, now) // before it is asked how long nothing is due
		if left := s.due(now); left > 0 {
			pause.Reset(left)
		}
		if err := s.bindReady(ctx); err != nil {
			return nil
		}
		if u := s.batch.Next(s.refuse, s.sayUnit); u != nil {
			if err := s.scheduleUnit(ctx, u); err != nil {
				return nil
			}
			continue
		}
		s.welcome(ctx)
		if w := s.queue.Pop(); w != nil {
			if err := s.schedule(ctx, w); err != nil {
				return nil
			}
			continue
		}
		s.measured.pending(s.queue.Counts())
		s.reportQueues()
		select {
		case <-ctx.Done():
			return nil
		case <-s.mail.Ready():
		case <-pause.C:
		}
	}
}

// due does what the time has come for, and returns how long nothing is due, or 0
// when nothing waits for a time.
func (s *Scheduler) due(now time.Time) time.Duration {
	left := backlog.Sooner(s.queue.Due(now), s.batch.Due(now), s.forgetUnseen(now), s.watchNext.Sub(now))
	for _, p := range s.preparing {
		until := p.deadline.Sub(now)
		if until <= 0 {
			s.giveUp(p, unprepared{engine.RuleVolumeBinding, fmt.Errorf("binding volumes: %w", context.DeadlineExceeded)}, now)
			continue
		}
		left = backlog.Sooner(left, until)
	}
	return left
}

func (s *Scheduler) bindReady(ctx context.Context) error {
	for len(s.ready) > 0 {
		select {
		case s.binds <- s.ready[0]:
			s.ready = s.ready[1:]
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// profileOf returns the profile that serves a pod, or nil.
func (s *Scheduler) profileOf(pod *corev1.Pod) *config.Profile {
	return s.profiles[pod.Spec.SchedulerName]
}

// schedule finds a place for one pod and hands it to a binder, or parks it. The
// only error is the context's.
func (s *Scheduler) schedule(ctx context.Context, w *backlog.Waiting) error {
	if s.engine.NodeOf(w.Pod.UID) != "" {
		return nil // being bound already
	}
	profile := s.profileOf(w.Pod)
	began := time.Now()
	ask, plans, problem := s.ask(ctx, w.Pod, profile)
	if problem != "" {
		s.unschedulable(w, ask, problem, plans, began)
		return nil
	}
	choice, ok := s.engine.Choose(ask)
	s.measured.algorithm(began)
	if !ok {
		s.unfit(w, ask, profile, plans, began)
		return nil
	}
	node := choice.Node
	work, err := plans.decide(s.engine.Node(node))
	if err != nil {
		s.queue.Retry(w.Pod.UID, began)
		return nil
	}
	if room := roomOf(w); room != "" && room != node {
		s.leaveRoom(w)
	}
	w.Nominated = ""
	s.engine.SetPod(w.Pod, node)
	s.storage.SetPod(w.Pod)
	s.queue.Fitted(w, s.engine.Feasible)
	s.measured.attempt("scheduled", profile.Name, began)
	s.notePlaced(w.Pod, choice, began)
	if work.empty() {
		s.ready = append(s.ready, bind{pod: w.Pod, node: node})
		return s.bindReady(ctx)
	}
	s.prepare(w, node, work, began.Add(profile.BindTimeout))
	return nil
}

// takeOff has a pod count on no node any more, and reports whether it did.
func (s *Scheduler) takeOff(uid types.UID) bool {
	s.storage.RemovePod(uid)
	return s.engine.RemovePod(uid)
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
