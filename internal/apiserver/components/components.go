// Package components answers how the parts of the control plane are, by the
// deprecated kind ComponentStatus: the scheduler, the controllers and the store.
//
// Nothing is stored: each is looked at when somebody asks. A part that runs in
// this process is well as long as this process lives, for it ends with its
// parts; one that another program does is asked by its health endpoint, where
// Kubernetes' own programs have it.
package components

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/apiserver/columns"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// The names and, where another program does a part's work, its ports.
const (
	Scheduler   = "scheduler"
	Controllers = "controller-manager"
	store       = "etcd-0"

	schedulerPort   = 10259
	controllersPort = 10257
)

// timeout bounds one look.
const timeout = 20 * time.Second

// check looks at one component.
type check struct {
	name string
	look func(context.Context) corev1.ComponentCondition
}

func well(message string) corev1.ComponentCondition {
	return corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: message}
}

func unwell(message, failure string) corev1.ComponentCondition {
	return corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionFalse, Message: message, Error: failure}
}

// Options say where the components are.
type Options struct {
	// Elsewhere names the components (Scheduler, Controllers) that do not run
	// in this process.
	Elsewhere map[string]bool
	// Store asks the store for an answer.
	Store func(context.Context) error
}

// Extension adds componentstatuses to a server.
func Extension(o Options) plug.Extension {
	return func(*plug.Host) (plug.Additions, error) {
		return plug.Additions{Endpoints: []plug.Endpoint{{
			GroupVersion: corev1.SchemeGroupVersion, Path: "componentstatuses",
			Storage: newStorage([]check{o.part(Scheduler, schedulerPort), o.part(Controllers, controllersPort), {store, o.store}}),
		}}}, nil
	}
}

func (o Options) part(name string, port int) check {
	if o.Elsewhere[name] {
		return check{name, endpoint("https://127.0.0.1:" + strconv.Itoa(port) + "/healthz")}
	}
	return check{name, func(context.Context) corev1.ComponentCondition { return well("ok") }}
}

func (o Options) store(ctx context.Context) corev1.ComponentCondition {
	if err := o.Store(ctx); err != nil {
		return unwell("", err.Error())
	}
	return well("ok")
}

// endpoint asks a program for its health. Whom its certificate names does not
// matter: it is told nothing, and its word is only shown.
func endpoint(url string) func(context.Context) corev1.ComponentCondition {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}
	return func(ctx context.Context) corev1.ComponentCondition {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return unwell(err.Error(), "")
		}
		resp, err := client.Do(req)
		if err != nil {
			return unwell(err.Error(), "")
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 10<<10))
		switch {
		case err != nil:
			return unwell(err.Error(), "")
		case resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusBadRequest:
			return unwell(fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode), "")
		}
		return well(string(body))
	}
}

// storage is the resource: to be read, and not to be watched.
type storage struct {
	rest.TableConvertor
	checks []check
}

func newStorage(checks []check) *storage {
	return &storage{rows.Table(columns.ComponentStatus(), columns.ComponentStatusCells), checks}
}

// New returns an empty object.
func (*storage) New() runtime.Object { return &corev1.ComponentStatus{} }

// NewList returns an empty list.
func (*storage) NewList() runtime.Object { return &corev1.ComponentStatusList{} }

// Destroy does nothing: nothing is stored.
func (*storage) Destroy() {}

// NamespaceScoped says that components are the cluster's.
func (*storage) NamespaceScoped() bool { return false }

// GetSingularName is the name of one.
func (*storage) GetSingularName() string { return "componentstatus" }

// ShortNames is what people type.
func (*storage) ShortNames() []string { return []string{"cs"} }

// Get looks at one component.
func (s *storage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	for _, c := range s.checks {
		if c.name == name {
			status := c.status(ctx)
			return &status, nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource(s.GetSingularName()), name)
}

// List looks at all components at the same time.
func (s *storage) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	statuses := make([]corev1.ComponentStatus, len(s.checks))
	var group sync.WaitGroup
	for i, c := range s.checks {
		group.Go(func() { statuses[i] = c.status(ctx) })
	}
	group.Wait()
	list := &corev1.ComponentStatusList{}
	for _, status := range statuses {
		if selected(&status, o) {
			list.Items = append(list.Items, status)
		}
	}
	return list, nil
}

func selected(status *corev1.ComponentStatus, o *internalversion.ListOptions) bool {
	if o == nil {
		return true
	}
	if o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(status.Labels)) {
		return false
	}
	return o.FieldSelector == nil || o.FieldSelector.Matches(fields.Set{"metadata.name": status.Name})
}

func (c check) status(ctx context.Context) corev1.ComponentStatus {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return corev1.ComponentStatus{
		ObjectMeta: metav1.ObjectMeta{Name: c.name}, Conditions: []corev1.ComponentCondition{c.look(ctx)},
	}
}
