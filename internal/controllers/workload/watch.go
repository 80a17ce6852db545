package workload

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// WatchOwned makes l reconcile owners of a kind when an object like obj changes:
// its owner, the one that it had before, and for an orphan all of owners' kind
// that may adopt it. pending sees every change before l does. owners is an empty
// list of the owners.
func WatchOwned(l *loop.Loop, deps loop.Deps, pending *expect.Tracker, obj client.Object, kind schema.GroupVersionKind, owners client.ObjectList) {
	l.WatchChanges(obj, func(before, after client.Object) []loop.Key {
		for _, state := range []client.Object{before, after} {
			if state != nil {
				pending.Seen(state)
			}
		}
		list := owners.DeepCopyObject().(client.ObjectList)
		keys, err := wake(context.Background(), deps.Cache, kind, list, before, after)
		if err != nil {
			deps.Log.Error("find owners of a changed object", "kind", kind.Kind, "err", err)
		}
		return keys
	})
}

// wake returns the keys to reconcile when an object that owners of a kind may
// control changed: its owner before and after, and for an orphan whoever may adopt
// it of the kind of owners, an empty list.
func wake(ctx context.Context, r client.Reader, kind schema.GroupVersionKind, owners client.ObjectList, before, after client.Object) ([]types.NamespacedName, error) {
	var keys []types.NamespacedName
	if before != nil {
		keys = OwnerKey(before, kind)
	}
	if after == nil {
		return keys, nil
	}
	keys = append(keys, OwnerKey(after, kind)...)
	if metav1.GetControllerOfNoCopy(after) != nil || after.GetDeletionTimestamp() != nil || len(after.GetLabels()) == 0 {
		return keys, nil
	}
	more, err := adopters(ctx, r, owners, after)
	return append(keys, more...), err
}
