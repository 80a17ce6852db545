package bootstrap

import (
	"context"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// object is a pointer to a Kubernetes type.
type object interface {
	runtime.Object
	metav1.Object
}

// access is what ensuring needs of a typed client.
type access[T object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Create(ctx context.Context, obj T, options metav1.CreateOptions) (T, error)
	Update(ctx context.Context, obj T, options metav1.UpdateOptions) (T, error)
}

// maxConflicts bounds how often a write starts over because somebody else
// wrote at the same time.
const maxConflicts = 5

// ensure makes want when it is missing. When it is there, settle carries
// over into it what must hold; nil leaves it as it is.
func ensure[T object](ctx context.Context, api access[T], want T, settle func(have T)) error {
	var err error
	for range maxConflicts {
		if err = ensureOnce(ctx, api, want, settle); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("ensure %T %s: %w", want, want.GetName(), err)
	}
	return nil
}

func ensureOnce[T object](ctx context.Context, api access[T], want T, settle func(have T)) error {
	have, err := api.Get(ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want.DeepCopyObject().(T), metav1.CreateOptions{})
		return err
	}
	if err != nil || settle == nil {
		return err
	}
	before := have.DeepCopyObject()
	settle(have)
	if reflect.DeepEqual(before, have) {
		return nil
	}
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}
