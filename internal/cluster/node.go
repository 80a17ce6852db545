package cluster

import (
	"context"
)

// node is what makes this machine a node: the runtime, the pod network, the
// agent, service proxy and DNS.
type node struct {
	runtime *runtimeProcess
}

func (s *server) startRuntime(ctx context.Context) error {
	if s.cfg.RuntimeEndpoint != "" {
		return nil
	}
	return s.progress.step(StepRuntime, func() error {
		r, err := newRuntimeProcess(s.cfg.Dir)
		if err != nil {
			return err
		}
		if err := r.ensure(ctx); err != nil {
			return err
		}
		s.node.runtime = r
		return nil
	})
}

func (s *server) startNode(context.Context) error { return nil }
