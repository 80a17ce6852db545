// Package hook runs what a pod asks for at the begin and end of a container's
// life: a command in it, an HTTP request to it, or a pause.
package hook

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/probe/check"
)

// httpTimeout bounds a request whose hook has no bound of its own.
const httpTimeout = time.Minute

// Run runs handler for a container until it has ended or ctx is done.
func Run(ctx context.Context, runtime cri.RuntimeServiceClient, t check.Target, handler *corev1.LifecycleHandler) error {
	switch {
	case handler.Exec != nil:
		return exec(ctx, runtime, t.ID, handler.Exec.Command)
	case handler.HTTPGet != nil:
		answer, err := check.HTTP(ctx, t, handler.HTTPGet, httpTimeout)
		if err != nil {
			return err
		}
		if !answer.OK {
			return errors.New(answer.Output)
		}
		return nil
	case handler.Sleep != nil:
		timer := time.NewTimer(time.Duration(handler.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the hook names nothing to run: set exec, httpGet or sleep")
}

func exec(ctx context.Context, runtime cri.RuntimeServiceClient, id string, command []string) error {
	request := &cri.ExecSyncRequest{ContainerId: id, Cmd: command}
	if at, ok := ctx.Deadline(); ok {
		// The runtime ends the command; a call given up would leave it running.
		request.Timeout = max(int64(time.Until(at).Seconds()), 1)
	}
	answer, err := runtime.ExecSync(ctx, request)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if answer.ExitCode != 0 {
		return fmt.Errorf("command '%v' exited with %d: %s%s", command, answer.ExitCode, answer.Stdout, answer.Stderr)
	}
	return nil
}
