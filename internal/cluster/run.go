package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/process"
)

// Run brings up server, agent and runtime, reports each step and blocks until
// ctx ends or a part fails. Containers and the runtime outlive it; Down ends
// them. It returns at once, with an error that says what to do, where the data
// directory is in use or does not fit the configuration.
func Run(ctx context.Context, cfg Config, report Reporter) error {
	p := progress{began: time.Now(), report: report}
	s := &server{cfg: cfg, progress: p, log: slog.Default()}
	if err := p.step(StepData, s.takeDirectory); err != nil {
		return err
	}
	defer s.releaseDirectory()
	s.parts = newParts(ctx)
	defer s.stop()
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	s.parts.start("tidying", process.Tidy)
	return s.parts.wait(ctx)
}

// stop ends all parts, the store last: all who write have stopped then.
func (s *server) stop() {
	if db := s.control.store; db != nil && db.Err() != nil {
		s.parts.abandon()
	} else {
		s.parts.stop()
	}
	s.closeStore()
}

// CheckNotRunning returns an error that says what to do when a server runs on
// the data directory.
func CheckNotRunning(dir instance.Dir) error {
	found, err := process.Find(dir.ServerProcess())
	switch {
	case errors.Is(err, process.ErrNotRunning):
		return nil
	case err != nil:
		return err
	}
	return alreadyRunning(dir, found)
}

func alreadyRunning(dir instance.Dir, p process.Process) error {
	return fmt.Errorf("sinawi already runs on %s (process %d); see `sinawi status`, stop it with `sinawi down`, or use another --data-dir with other ports and ranges", dir, p.PID)
}

// server is one running instance.
type server struct {
	cfg      Config
	progress progress
	log      *slog.Logger
	lock     *os.File

	keys    *pki.PKI
	control control
	node    node
	parts   *parts
}

// takeDirectory makes the data directory this process's own.
func (s *server) takeDirectory() error {
	dir := s.cfg.Dir
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		// Containers of any user reach files below it, so others may pass; what
		// is secret is closed one level further down.
		{string(dir), 0o711}, {dir.Run(), 0o711}, {dir.Logs(), 0o755}, {dir.Agent(), 0o711}, {dir.Store(), 0o700},
	} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
	}
	lock, err := process.Lock(dir.ServerLock())
	if errors.Is(err, process.ErrLocked) {
		if err := CheckNotRunning(dir); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	s.lock = lock
	err = s.cfg.remember()
	if err == nil {
		var self process.Process
		if self, err = process.Self(); err == nil {
			err = process.Remember(dir.ServerProcess(), self)
		}
	}
	if err != nil {
		lock.Close()
	}
	return err
}

func (s *server) releaseDirectory() {
	_ = os.Remove(s.cfg.Dir.ServerProcess())
	s.lock.Close()
}

// start brings up all parts. The runtime needs nothing of the control plane, so
// both start at the same time; the node joins them.
func (s *server) start(ctx context.Context) error {
	if err := s.progress.step(StepCertificates, s.openCertificates); err != nil {
		return err
	}
	both, both2 := errgroup.WithContext(ctx)
	if s.cfg.enabled(PartAgent) {
		both.Go(func() error { return s.startRuntime(both2) })
	}
	both.Go(func() error { return s.startControl(both2) })
	if err := both.Wait(); err != nil {
		return err
	}
	if s.node.runtime != nil {
		s.parts.start("runtime", s.node.runtime.run)
	}
	if s.cfg.enabled(PartAgent) {
		if err := s.startNode(ctx); err != nil {
			return err
		}
	}
	s.progress.end(StepReady, s.progress.began, nil)
	return nil
}

func (s *server) openCertificates() error {
	keys, err := pki.Open(s.cfg.Dir.PKI(), time.Now)
	if err != nil {
		return err
	}
	s.keys = keys
	admin, err := keys.Ensure(keys.Cluster, "admin", pki.Request{
		CommonName: "admin", Organizations: []string{"system:masters"}, Client: true,
	})
	if err != nil {
		return err
	}
	url := fmt.Sprintf("https://%s", hostPort(s.cfg.NodeIP, s.cfg.APIPort))
	file, err := kubeconfig(string(s.cfg.Dir.Name()), url, keys.Cluster.CertPEM, admin)
	if err != nil {
		return err
	}
	return writeKubeconfig(s.cfg.Dir, file)
}
