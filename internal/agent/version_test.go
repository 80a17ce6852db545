package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// starting is a runtime that is ready at a time, or fails for good.
type starting struct {
	ready time.Time
	fails error
}

func (s starting) Version(context.Context, *cri.VersionRequest, ...grpc.CallOption) (*cri.VersionResponse, error) {
	switch {
	case s.fails != nil:
		return nil, s.fails
	case time.Now().Before(s.ready):
		return nil, status.Error(codes.Unavailable, "server is not initialized yet")
	}
	return &cri.VersionResponse{RuntimeName: "containerd"}, nil
}

// TestIntroduce: a runtime that listens and is not ready yet is waited for, one that
// never is, or says no, is not.
func TestIntroduce(t *testing.T) {
	refused := status.Error(codes.Unimplemented, "unknown service")
	for name, tt := range map[string]struct {
		takes time.Duration
		fails error
		want  error
		ok    bool
	}{
		"ready":       {ok: true},
		"starts":      {takes: 3 * time.Second, ok: true},
		"never ready": {takes: time.Hour},
		"says no":     {fails: refused, want: refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer, err := introduce(t.Context(), starting{ready: time.Now().Add(tt.takes), fails: tt.fails})
				if (err == nil) != tt.ok || tt.ok && answer.RuntimeName != "containerd" {
					t.Errorf("got %v, %v", answer, err)
				}
				if tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			})
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := introduce(ctx, starting{ready: time.Now().Add(time.Hour)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v when nobody waits any more", err)
	}
}
