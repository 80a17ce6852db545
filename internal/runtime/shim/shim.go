// Package shim is the process that stays beside containers, of one pod or of many: it
// is their parent, holds their streams and knows how they ended, whether the runtime
// runs or not.
//
// It is containerd's task service for OCI runtimes with one difference: a container
// that ended while the runtime was down is reported as known, so that the runtime
// asks for its exit code instead of throwing the shim away (see service.Pids).
package shim

import (
	"context"
	"os"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	containerdshim "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sinawi/sinawi/internal/runtime/nodeshim"
)

// runtime is the name under which containerd knows this shim: the stock one's.
const runtime = "io.containerd.runc.v2"

// Main runs the shim's command line (start, delete, or serving) from os.Args and
// does not return before it is done.
func Main(ctx context.Context) {
	// Imported packages have registered plugins of a whole containerd; the shim
	// serves tasks alone.
	registry.Reset()
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newService,
	})
	containerdshim.RunShim(ctx, manager.NewShimManager(runtime), func(c *containerdshim.Config) {
		// A node's shim belongs to no container, in whose bundle a log would be: it
		// writes to what it was started with.
		c.NoSetupLogger = ofNode()
	})
}

func newService(ic *plugin.InitContext) (any, error) {
	publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	stop, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	inner, err := task.NewTaskService(ic.Context, publisher.(containerdshim.Publisher), stop.(shutdown.Service))
	if err != nil {
		return nil, err
	}
	return &service{TTRPCTaskService: inner}, nil
}

// ofNode reports whether this shim serves the pods of the node, not one pod.
func ofNode() bool { return os.Getenv(nodeshim.Mode) != "" }

// Shutdown is asked for whenever a container is removed. A node's shim stays.
func (s *service) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	if ofNode() {
		return &emptypb.Empty{}, nil
	}
	return s.TTRPCTaskService.Shutdown(ctx, r)
}

type service struct {
	taskapi.TTRPCTaskService
}

// RegisterTTRPC makes the service what RunShim serves.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(server, s)
	return nil
}

// Pids lists the container's processes. After a restart the runtime asks every shim
// for them and discards, exit code and all, one that has none. A container that ran
// and stopped therefore still lists the pid that its init process had.
func (s *service) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	pids, err := s.TTRPCTaskService.Pids(ctx, r)
	if err == nil && len(pids.Processes) > 0 {
		return pids, nil
	}
	state, stateErr := s.TTRPCTaskService.State(ctx, &taskapi.StateRequest{ID: r.ID})
	if stateErr != nil || state.Status != tasktypes.Status_STOPPED || state.Pid == 0 {
		return pids, err
	}
	return &taskapi.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: state.Pid}}}, nil
}
