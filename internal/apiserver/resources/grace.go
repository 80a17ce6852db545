package resources

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type graceKey struct{}

// WithGrace keeps in a context what grace period the caller of a deletion asked
// for. The registry decides about a deletion twice, from the object as it read it
// and again from the one that it changes, and in between only the first answer
// would be left of it: a pod that was bound meanwhile would be gone at once,
// while its node starts it.
func WithGrace(ctx context.Context, options *metav1.DeleteOptions) context.Context {
	if options == nil {
		return ctx
	}
	var asked *int64
	if options.GracePeriodSeconds != nil {
		seconds := *options.GracePeriodSeconds
		asked = &seconds
	}
	return context.WithValue(ctx, graceKey{}, asked)
}

// askedGrace is the grace period that the caller asked for, nil for none.
func askedGrace(ctx context.Context, options *metav1.DeleteOptions) *int64 {
	if asked, known := ctx.Value(graceKey{}).(*int64); known {
		return asked
	}
	return options.GracePeriodSeconds
}
