package storagemigration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	svmv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const (
	// patience is how long a resource may be missing that has just been defined.
	patience = time.Minute
	again    = 2 * time.Second
)

// Controller reconciles migrations.
type Controller struct {
	loop.Deps
	loop      *loop.Loop
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
	mapper    meta.RESTMapper
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, d discovery.DiscoveryInterface, m metadata.Interface, mapper meta.RESTMapper) *Controller {
	c := &Controller{Deps: deps, discovery: d, metadata: m, mapper: mapper}
	// Who waits for others must not migrate while one of them does: one at a time.
	c.loop = loop.New("storageversionmigration", 1, deps, c.reconcile)
	c.loop.Watch(&svmv1.StorageVersionMigration{}, c.alike)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// alike are a migration and those that may wait for it.
func (c *Controller) alike(obj client.Object) []loop.Key {
	out := loop.Self(obj)
	var all svmv1.StorageVersionMigrationList
	if err := c.Cache.List(context.Background(), &all, client.UnsafeDisableDeepCopy); err != nil {
		return out
	}
	for i := range all.Items {
		if m := &all.Items[i]; m.Name != obj.GetName() && m.Spec.Resource == obj.(*svmv1.StorageVersionMigration).Spec.Resource && !ended(m) {
			out = append(out, client.ObjectKeyFromObject(m))
		}
	}
	return out
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	m := &svmv1.StorageVersionMigration{}
	if err := c.Cache.Get(ctx, key, m); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	var all svmv1.StorageVersionMigrationList
	if err := c.Cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list storage version migrations: %w", err)
	}
	switch next(m, all.Items) {
	case begin:
		if err := c.beginDefinition(ctx, m); err != nil {
			return 0, err
		}
		return 0, c.tell(ctx, m, running(progress{}.words(nil)))
	case mark:
		return c.mark(ctx, m)
	case migrate:
		return c.migrate(ctx, m)
	case finish:
		if err := c.finishDefinition(ctx, m); err != nil {
			return 0, err
		}
		return 0, c.tell(ctx, m, completed(m.Generation))
	}
	return 0, nil
}

// tell writes conditions of a migration, with whatever else has changed about it.
func (c *Controller) tell(ctx context.Context, m *svmv1.StorageVersionMigration, conditions ...metav1.Condition) error {
	for _, condition := range conditions {
		meta.SetStatusCondition(&m.Status.Conditions, condition)
	}
	if err := c.Client.Status().Update(ctx, m); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of storage version migration %s: %w", m.Name, err))
	}
	return nil
}

// mark notes the revision up to which objects are to be touched.
func (c *Controller) mark(ctx context.Context, m *svmv1.StorageVersionMigration) (time.Duration, error) {
	resource, pause, err := c.await(ctx, m, "resource does not exist in discovery")
	if err != nil || resource.Empty() {
		return pause, err
	}
	verbs := []string{"update", "patch", "list"}
	can, err := c.can(resource, verbs)
	if err != nil {
		return 0, err
	}
	if !can {
		return 0, c.tell(ctx, m, failed(fmt.Sprintf("resource %q does not support discovery operations: %v", resource.String(), verbs)))
	}
	list, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("read the revision of %s: %w", resource.String(), err)
	}
	m.Status.ResourceVersion = list.ResourceVersion
	return 0, c.tell(ctx, m)
}

// await is resource, with how long to wait where it is empty. A migration of what
// stays missing has failed, and is told so.
func (c *Controller) await(ctx context.Context, m *svmv1.StorageVersionMigration, missing string) (schema.GroupVersionResource, time.Duration, error) {
	resource, err := c.resource(m)
	switch {
	case err != nil || !resource.Empty():
		return resource, 0, err
	case m.CreationTimestamp.Add(patience).After(time.Now()):
		return resource, again, nil
	}
	return resource, 0, c.tell(ctx, m, failed(missing))
}

// resource is what a migration is of, in the version that is asked for by default;
// empty when it is not served.
func (c *Controller) resource(m *svmv1.StorageVersionMigration) (schema.GroupVersionResource, error) {
	want := m.Spec.Resource
	all, err := c.mapper.ResourcesFor(schema.GroupVersionResource{Group: want.Group, Resource: want.Resource})
	if err != nil && !meta.IsNoMatchError(err) {
		return schema.GroupVersionResource{}, fmt.Errorf("look up %s: %w", want.String(), err)
	}
	for _, r := range all {
		if r.Group == want.Group && r.Resource == want.Resource {
			return r, nil
		}
	}
	return schema.GroupVersionResource{}, nil
}

// can reports whether a resource is served with all of the verbs.
func (c *Controller) can(r schema.GroupVersionResource, verbs []string) (bool, error) {
	list, err := c.discovery.ServerResourcesForGroupVersion(r.GroupVersion().String())
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	for i := range list.APIResources {
		if list.APIResources[i].Name == r.Resource {
			has := list.APIResources[i].Verbs
			return !slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(has, v) }), nil
		}
	}
	return false, errors.New("resource " + r.String() + " is not in discovery")
}

// passing reports whether a write may go well if it is tried again.
func passing(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown
}
