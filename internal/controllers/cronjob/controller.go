// Package cronjob makes Jobs at the times of a schedule.
//
// It owns the Jobs that a CronJob controls (making, replacing, removing) and the
// CronJob's status. It promises one Job at most for each scheduled time, also
// after a crash: the Job's name carries the time. One timer per CronJob waits for
// the next; nothing looks around in between.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/cronjob/schedule"
	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles CronJobs.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
}

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New()}
	c.loop = loop.New("cronjob", 3, deps, c.reconcile)
	c.loop.WatchSelf(&batchv1.CronJob{})
	c.loop.Watch(&batchv1.Job{}, func(obj client.Object) []loop.Key {
		c.pending.Seen(obj)
		return workload.OwnerKey(obj, kind)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	cron := &batchv1.CronJob{}
	if err := c.Cache.Get(ctx, key, cron); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	jobs, err := workload.Owned[*batchv1.Job](ctx, c.Cache, &batchv1.JobList{}, cron.Namespace, cron.UID)
	if err != nil {
		return 0, fmt.Errorf("list jobs of cron job: %w", err)
	}
	snap := snapshot{cron: cron, jobs: jobs}
	seen := []client.Object{cron}
	for _, job := range jobs {
		seen = append(seen, job)
	}
	now := time.Now()
	if settled, again := expect.Settled(c.pending, cron.UID, seen, now); !settled {
		return again, nil
	}
	if snap.times, err = c.times(cron); err != nil {
		c.Log.Debug("cron job has no schedule", "key", key.String(), "err", err)
	}
	if zone := cron.Spec.TimeZone; zone != nil {
		if z, err := time.LoadLocation(*zone); err == nil {
			now = now.In(z)
		}
	} else {
		now = now.UTC()
	}
	p := decide(snap, now)
	return p.again, c.act(ctx, cron, p)
}

// times reads the schedule. A zone that is not known stops it, as a schedule
// that cannot be read does; users hear of it unless the CronJob is suspended.
func (c *Controller) times(cron *batchv1.CronJob) (*schedule.Schedule, error) {
	if zone := cron.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			c.Events.Eventf(cron, corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)
			return nil, fmt.Errorf("load time zone: %w", err)
		}
	}
	times, err := schedule.Parse(cron.Spec.Schedule)
	if err != nil && !suspended(cron) {
		c.Events.Eventf(cron, corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", cron.Spec.Schedule, err)
	}
	return times, err
}

func (c *Controller) act(ctx context.Context, cron *batchv1.CronJob, p plan) error {
	for _, n := range p.events {
		c.Events.Event(cron, n.kind, n.reason, n.message)
	}
	var errs []error
	for _, job := range append(p.remove, p.replace...) {
		errs = append(errs, c.remove(ctx, cron, job))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !p.create.IsZero() {
		job, err := c.create(ctx, cron, p.create)
		if err != nil || job == nil {
			return err
		}
		p.status.Active = append(p.status.Active, reference(job))
	}
	if equality.Semantic.DeepEqual(cron.Status, p.status) {
		return nil
	}
	changed := cron.DeepCopy()
	changed.Status = p.status
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of cron job: %w", err))
	}
	c.pending.Updated(cron.UID, changed, time.Now())
	return nil
}

func (c *Controller) create(ctx context.Context, cron *batchv1.CronJob, due time.Time) (*batchv1.Job, error) {
	job := build(cron, due)
	err := c.Client.Create(ctx, job)
	switch {
	case err == nil:
		c.pending.Created(cron.UID, job, time.Now())
		c.Events.Eventf(cron, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", job.Name)
		return job, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, nil // nothing can be created here any more
	case apierrors.IsAlreadyExists(err):
		have := &batchv1.Job{}
		if err := c.Client.Get(ctx, client.ObjectKeyFromObject(job), have); err != nil {
			return nil, fmt.Errorf("read job %s: %w", job.Name, err)
		}
		if !metav1.IsControlledBy(have, cron) {
			return nil, fmt.Errorf("job %s exists and is not of cron job %s", job.Name, cron.Name)
		}
		return have, nil // made before a crash
	default:
		c.Events.Eventf(cron, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return nil, fmt.Errorf("create job %s: %w", job.Name, err)
	}
}

func (c *Controller) remove(ctx context.Context, cron *batchv1.CronJob, job *batchv1.Job) error {
	err := c.Client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &job.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.Events.Eventf(cron, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return fmt.Errorf("delete job %s: %w", job.Name, err)
	}
	if err == nil {
		c.pending.Deleted(cron.UID, job.UID, time.Now())
		c.Events.Eventf(cron, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", job.Name)
	}
	return nil
}
