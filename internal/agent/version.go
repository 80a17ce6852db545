package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// startTimeout is how long a runtime may take to be ready for work once it
	// listens: it looks at all that it ran before first.
	startTimeout = 2 * time.Minute
	// startPause is how long it is left alone in between.
	startPause = 50 * time.Millisecond
)

// versioner is what is asked of a runtime first.
type versioner interface {
	Version(context.Context, *cri.VersionRequest, ...grpc.CallOption) (*cri.VersionResponse, error)
}

// introduce asks a runtime who it is. One that has just started listens before it is
// ready, calls itself unavailable so long, and cannot tell when that ends.
func introduce(ctx context.Context, runtime versioner) (*cri.VersionResponse, error) {
	var patience <-chan time.Time
	for {
		answer, err := runtime.Version(ctx, &cri.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil || status.Code(err) != codes.Unavailable {
			return answer, err
		}
		if patience == nil {
			patience = time.After(startTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience:
			return nil, fmt.Errorf("not ready after %s: %w", startTimeout, err)
		case <-time.After(startPause):
		}
	}
}
