// Package tokencleaner shuts off and then removes the tokens in secrets that old
// clusters made for every service account and that nobody has used for a year.
//
// It owns the label that shuts such a token off, and the end of its secret a
// year later. It never touches a secret that its account does not name, since
// that was made by hand, nor one that a pod refers to. When tokens are used is
// recorded by the API server, which also says since when it records.
package tokencleaner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// The record of use that the API server keeps.
const (
	recordName  = "kube-apiserver-legacy-service-account-token-tracking"
	recordSince = "since"
)

const (
	// unused is how long a token may lie idle, and how long it stays shut off.
	unused = 365 * 24 * time.Hour
	// between two looks at all tokens; days are counted.
	between = 24 * time.Hour
)

// Controller looks at all tokens once a day. It watches nothing.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	now  func() time.Time
}

// New returns a controller that works with the given dependencies; now is the
// clock that ages are measured by, nil the machine's.
func New(deps loop.Deps, now func() time.Time) *Controller {
	if now == nil {
		now = time.Now
	}
	c := &Controller{Deps: deps, now: now}
	c.loop = loop.New("legacy-serviceaccount-token-cleaner", 1, deps, c.reconcile)
	c.loop.Begin(loop.Key{Namespace: metav1.NamespaceSystem, Name: recordName})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	record := &corev1.ConfigMap{}
	if err := c.Client.Get(ctx, key, record); err != nil {
		return 0, fmt.Errorf("read since when the use of tokens is recorded: %w", err)
	}
	since, err := time.Parse(time.DateOnly, record.Data[recordSince])
	if err != nil {
		return 0, fmt.Errorf("read since when the use of tokens is recorded from %q of ConfigMap %s: %w", recordSince, key, err)
	}
	now := c.now().UTC()
	if !recordedLong(since, now) {
		return between, nil
	}
	all, err := c.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	for _, a := range plan(all, now) {
		if err := c.apply(ctx, a, now); err != nil {
			c.Log.ErrorContext(ctx, "unused token not cleaned up", "namespace", a.secret.Namespace, "secret", a.secret.Name, "err", err)
		}
	}
	return between, nil
}

func (c *Controller) snapshot(ctx context.Context) (snapshot, error) {
	var all snapshot
	var secrets corev1.SecretList
	var accounts corev1.ServiceAccountList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&secrets, &accounts, &pods} {
		if err := c.Cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return all, fmt.Errorf("list %T: %w", list, err)
		}
	}
	return snapshot{secrets: secrets.Items, accounts: accounts.Items, pods: pods.Items}, nil
}

func (c *Controller) apply(ctx context.Context, a action, now time.Time) error {
	if a.remove {
		c.Log.InfoContext(ctx, "unused token removed", "namespace", a.secret.Namespace, "secret", a.secret.Name,
			"lastUsed", a.secret.Labels[lastUsed], "invalidSince", a.secret.Labels[invalidSince])
		err := c.Client.Delete(ctx, a.secret, client.Preconditions{ResourceVersion: &a.secret.ResourceVersion})
		if apierrors.IsConflict(err) {
			return nil // somebody changed it: tomorrow it is looked at again
		}
		return client.IgnoreNotFound(err)
	}
	c.Log.InfoContext(ctx, "unused token shut off", "namespace", a.secret.Namespace, "secret", a.secret.Name)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": a.secret.UID, "labels": map[string]string{invalidSince: now.Format(time.DateOnly)},
	}})
	if err != nil {
		return err
	}
	target := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.secret.Namespace, Name: a.secret.Name}}
	return client.IgnoreNotFound(c.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)))
}
