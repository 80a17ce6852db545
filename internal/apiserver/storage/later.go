package storage

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	apistorage "k8s.io/apiserver/pkg/storage"
)

// tooLargeRetrySeconds is when a client shall come again that asked for a revision
// of the future, as the watch cache has it.
const tooLargeRetrySeconds = 1

// later is a store that tells when to come again for a revision that it does not
// have yet. The watch cache tells that of itself; of what it leaves to the store,
// pages and lists of an exact revision, nobody would.
type later struct{ apistorage.Interface }

// GetList implements [apistorage.Interface].
func (l later) GetList(ctx context.Context, key string, o apistorage.ListOptions, list runtime.Object) error {
	err := l.Interface.GetList(ctx, key, o, list)
	var status *apierrors.StatusError
	if apistorage.IsTooLargeResourceVersion(err) && errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.RetryAfterSeconds = tooLargeRetrySeconds
	}
	return err
}
