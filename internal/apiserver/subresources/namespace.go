package subresources

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

var namespaceResource = schema.GroupResource{Resource: "namespaces"}

// addNamespaces serves namespaces, whose deletion takes time: the first
// request marks them, and they go when their content and spec.finalizers have.
func addNamespaces(add func(schema.GroupVersion, string, rest.Storage), h *plug.Host, served *rows.Served) {
	core := corev1.SchemeGroupVersion
	served.Store.ShouldDeleteDuringUpdate = emptied
	add(core, "namespaces", &namespaces{wholeNamespace: served.Store, store: served.Store})
	// The status store was made before the rule above was set.
	add(core, "namespaces/status", served.Variant(h.Scheme, *served.Row.Status))
	finalize := served.Variant(h.Scheme, resources.NamespaceFinalize())
	add(core, "namespaces/finalize", &namespaceFinalize{finalizing: finalize})
}

// emptied tells whether an update is the last thing that a namespace waited for.
func emptied(ctx context.Context, key string, obj, existing runtime.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) == 0 && genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
}

// wholeNamespace is what namespaces can do; there is no deletion of all of
// them in one request.
type wholeNamespace interface {
	rest.Storage
	rest.Scoper
	rest.SingularNameProvider
	rest.Getter
	rest.Lister
	rest.CreaterUpdater
	rest.Watcher
	rest.ShortNamesProvider
	rest.CategoriesProvider
	rest.ResetFieldsStrategy
	rest.StorageVersionProvider
}

type namespaces struct {
	wholeNamespace
	store *rows.Store
}

// Delete marks a namespace as terminating; once nothing holds it any more it
// is removed.
func (n *namespaces) Delete(ctx context.Context, name string, check rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := n.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	if err := checkPreconditions(ns, options.Preconditions); err != nil {
		return nil, false, err
	}
	if ns.DeletionTimestamp.IsZero() {
		out, err := n.terminate(ctx, name, check, options)
		return out, false, err
	}
	if len(ns.Spec.Finalizers) != 0 {
		return ns, false, nil
	}
	return n.store.Delete(ctx, name, check, options)
}

// checkPreconditions compares what the caller expects; without a uid the one
// just read is expected.
func checkPreconditions(ns *corev1.Namespace, p *metav1.Preconditions) error {
	switch {
	case p.UID == nil:
		p.UID = new(types.UID)
		*p.UID = ns.UID
	case *p.UID != ns.UID:
		return notAsExpected(ns.Name, "UID", *p.UID, ns.UID)
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != ns.ResourceVersion {
		return notAsExpected(ns.Name, "ResourceVersion", *p.ResourceVersion, ns.ResourceVersion)
	}
	return nil
}

func notAsExpected(name, what string, want, have any) error {
	//lint:ignore ST1005 upstream's wording
	err := fmt.Errorf("Precondition failed: %s in precondition: %v, %s in object meta: %v", what, want, what, have)
	return apierrors.NewConflict(namespaceResource, name, err)
}

func (n *namespaces) terminate(ctx context.Context, name string, check rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, error) {
	key, err := n.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	out := n.store.NewFunc()
	expected := &storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	update := storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		ns := obj.(*corev1.Namespace)
		if check != nil {
			if err := check(ctx, ns); err != nil {
				return nil, err
			}
		}
		if ns.DeletionTimestamp.IsZero() {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.Finalizers = dependentFinalizers(ns.Finalizers, options)
		return ns, nil
	})
	err = n.store.Storage.GuaranteedUpdate(ctx, key, out, false, expected, update, dryrun.IsDryRun(options.DryRun), nil)
	if err == nil {
		return out, nil
	}
	err = storeerr.InterpretGetError(err, namespaceResource, name)
	return nil, storeerr.InterpretUpdateError(err, namespaceResource, name)
}

// dependentFinalizers sets the two finalizers that say what becomes of
// dependents, as the request asks or else as they are.
func dependentFinalizers(names []string, options *metav1.DeleteOptions) []string {
	want := map[string]bool{
		metav1.FinalizerOrphanDependents: slices.Contains(names, metav1.FinalizerOrphanDependents),
		metav1.FinalizerDeleteDependents: slices.Contains(names, metav1.FinalizerDeleteDependents),
	}
	//lint:ignore SA1019 clients still send it
	if orphan := options.OrphanDependents; orphan != nil {
		want[metav1.FinalizerOrphanDependents] = *orphan
		want[metav1.FinalizerDeleteDependents] = false
	}
	if p := options.PropagationPolicy; p != nil {
		want[metav1.FinalizerOrphanDependents] = *p == metav1.DeletePropagationOrphan
		want[metav1.FinalizerDeleteDependents] = *p == metav1.DeletePropagationForeground
	}
	var out []string
	for _, name := range names {
		if needed, known := want[name]; !known || needed {
			out = append(out, name)
			delete(want, name)
		}
	}
	for _, name := range []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents} {
		if want[name] {
			out = append(out, name)
		}
	}
	return out
}

// finalizing is a store of which only updates are served.
type finalizing interface {
	rest.Storage
	rest.Updater
	GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set
}

// namespaceFinalize is namespaces/finalize, by which controllers say that they
// are done with a namespace.
type namespaceFinalize struct{ finalizing }
