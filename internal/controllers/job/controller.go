package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles Jobs.
type Controller struct {
	loop.Deps
	jobs, orphans *loop.Loop
	pending       *expect.Tracker
	streaks       *streaks
}

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New(), streaks: newStreaks()}
	c.jobs = loop.New("job", 5, deps, c.reconcile)
	c.jobs.Retry(time.Second, time.Minute) // each try to make pods is an event
	c.jobs.WatchSelf(&batchv1.Job{})
	workload.WatchOwned(c.jobs, deps, c.pending, &corev1.Pod{}, kind, &batchv1.JobList{})
	c.orphans = loop.New("job-orphans", 1, deps, c.releaseOrphan)
	c.orphans.WatchChanges(&corev1.Pod{}, c.orphanChanged)
	c.orphans.WatchChanges(&batchv1.Job{}, c.jobGone)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.jobs.Run(ctx) })
	group.Go(func() error { return c.orphans.Run(ctx) })
	return group.Wait()
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	job := &batchv1.Job{}
	if err := c.Cache.Get(ctx, key, job, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if by := job.Spec.ManagedBy; by != nil && *by != batchv1.JobControllerName {
		return 0, nil
	}
	now := time.Now()
	if terminal(job) != nil {
		c.pending.Forget(job.UID)
		c.streaks.forget(job.UID)
		return c.expire(ctx, job, now)
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil || selector.Empty() {
		c.Log.Error("job has no valid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	claimer := &workload.Claimer{
		Client: c.Client, Cache: c.Cache, Owner: job, Kind: kind, Selector: selector,
		Finalizers: []string{batchv1.JobTrackingFinalizer},
	}
	pods, err := workload.Claimed[*corev1.Pod](ctx, claimer, &corev1.PodList{}, nil)
	if err != nil {
		return 0, err
	}
	// The status takes part too: counting from an old one would count twice.
	seen := make([]client.Object, 0, len(pods)+1)
	for _, pod := range pods {
		seen = append(seen, pod)
	}
	if settled, again := expect.Settled(c.pending, job.UID, append(seen, job), now); !settled {
		return again, nil
	}
	p := decide(snapshot{job: job, pods: pods, streak: c.streaks.get(job.UID)}, now)
	c.streaks.keep(job.UID, p.streak)
	return p.again, c.act(ctx, job, p)
}

// act carries out the plan. The status names ended pods before their finalizers
// come off, never after.
func (c *Controller) act(ctx context.Context, job *batchv1.Job, p plan) error {
	made, createErr := c.create(ctx, job, p.create)
	p.status.Active -= int32(len(p.create) - made)
	removeErr := c.remove(ctx, job, p.remove, p.forget)
	if err := c.updateStatus(ctx, job, p.status); err != nil {
		return errors.Join(createErr, removeErr, err)
	}
	for _, n := range p.events {
		c.Events.Event(job, n.kind, n.reason, n.message)
	}
	return errors.Join(createErr, removeErr, c.release(ctx, job, p.release))
}

func (c *Controller) create(ctx context.Context, job *batchv1.Job, pods []creation) (int, error) {
	next := make(chan creation, len(pods))
	for _, p := range pods {
		next <- p
	}
	write := workload.Pods{Deps: c.Deps, Pending: c.pending}
	return workload.SlowStart(len(pods), func() error { return write.Create(ctx, job, build(job, <-next)) })
}

func (c *Controller) remove(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod, forget bool) error {
	write := workload.Pods{Deps: c.Deps, Pending: c.pending}
	return each(pods, func(pod *corev1.Pod) error {
		if forget {
			if err := c.dropFinalizer(ctx, job, pod); err != nil {
				return err
			}
		}
		return write.Delete(ctx, job, pod)
	})
}

func (c *Controller) release(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod) error {
	return each(pods, func(pod *corev1.Pod) error { return c.dropFinalizer(ctx, job, pod) })
}

// each calls fn for all pods, a few at a time.
func each(pods []*corev1.Pod, fn func(*corev1.Pod) error) error {
	const together = 16
	errs := make([]error, len(pods))
	slots := make(chan struct{}, together)
	var wg sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = fn(pod)
			<-slots
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Controller) dropFinalizer(ctx context.Context, job *batchv1.Job, pod *corev1.Pod) error {
	if !tracked(pod) {
		return nil
	}
	changed := pod.DeepCopy()
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
	err := c.Client.Patch(ctx, changed, client.MergeFromWithOptions(pod, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take the finalizer off pod %s: %w", pod.Name, err)
	}
	if job != nil {
		c.pending.Updated(job.UID, changed, time.Now())
	}
	return nil
}

func (c *Controller) updateStatus(ctx context.Context, job *batchv1.Job, next batchv1.JobStatus) error {
	if equality.Semantic.DeepEqual(job.Status, next) {
		return nil
	}
	changed := job.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return fmt.Errorf("update status of job: %w", err)
	}
	c.pending.Updated(job.UID, changed, time.Now())
	return nil
}
