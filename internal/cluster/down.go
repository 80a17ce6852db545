package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/process"
	"github.com/sinawi/sinawi/internal/proxy"
	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/volumes"
)

// Steps of going down, in order.
const (
	StepStopServer     Step = "stop-server"
	StepStopContainers Step = "stop-containers"
	StepClean          Step = "clean"
	StepPurge          Step = "purge"
)

// serverStopTimeout is longer than all parts together take to stop in order.
const serverStopTimeout = 30 * time.Second

// DownOptions vary Down.
type DownOptions struct {
	// Grace is how long containers may take to end after they are told to.
	Grace time.Duration
	// Purge also removes the data directory.
	Purge bool
}

// Down stops everything of an instance and removes what it made on the machine:
// processes, mounts, network interfaces, nftables tables, cgroups. It works
// whatever state the instance is in, also when nothing runs.
func Down(ctx context.Context, dir instance.Dir, o DownOptions, report Reporter) error {
	p := progress{began: time.Now(), report: report}
	if err := checkOurs(dir); err != nil {
		return err
	}
	if err := p.step(StepStopServer, func() error { return stopServer(ctx, dir) }); err != nil {
		return err
	}
	lock, err := process.Lock(dir.ServerLock())
	if err != nil {
		return fmt.Errorf("lock data directory %s: %w; is another `sinawi up` starting?", dir, err)
	}
	defer lock.Close()
	// One part that does not come clean must not keep the others.
	err = errors.Join(
		p.step(StepStopContainers, func() error { return stopContainers(ctx, dir, o) }),
		p.step(StepClean, func() error { return clean(ctx, dir) }),
	)
	if err != nil || !o.Purge {
		return err
	}
	return p.step(StepPurge, func() error { return purge(dir) })
}

// checkOurs keeps Down from touching a directory that was never an instance's.
func checkOurs(dir instance.Dir) error {
	if _, err := os.Stat(dir.Record()); err == nil {
		return nil
	}
	if _, err := os.Stat(dir.Run()); err == nil { // it failed before the record was written
		return nil
	}
	return fmt.Errorf("there is no sinawi in %s; name its data directory with --data-dir", dir)
}

func stopServer(ctx context.Context, dir instance.Dir) error {
	found, err := process.Find(dir.ServerProcess())
	if errors.Is(err, process.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return found.Stop(ctx, serverStopTimeout)
}

func stopContainers(ctx context.Context, dir instance.Dir, o DownOptions) error {
	// Another runtime than the built-in one is not ours to stop; there is none
	// of ours then, and this finds nothing to do.
	config := RuntimeConfig(dir)
	if o.Purge {
		return runtime.Purge(ctx, config)
	}
	return runtime.Stop(ctx, config, o.Grace)
}

// clean removes what lies outside the data directory, and mounts inside.
func clean(ctx context.Context, dir instance.Dir) error {
	name := string(dir.Name())
	return errors.Join(
		volumes.RemoveAll(filepath.Join(dir.Agent(), "pods")),
		proxy.Purge(name),
		podnet.Teardown(ctx, podnet.Options{Instance: name}),
		removeKubeconfig(dir),
	)
}

// purge removes what an instance puts into its data directory, and the
// directory if nothing else is in it: other files there are their owner's.
func purge(dir instance.Dir) error {
	var errs []error
	for _, path := range []string{
		dir.PKI(), dir.Store(), dir.Agent(), dir.Runtime(), dir.Run(), dir.Logs(), dir.Kubeconfig(), dir.Record(),
	} {
		if err := os.RemoveAll(path); err != nil {
			errs = append(errs, fmt.Errorf("remove data: %w", err))
		}
	}
	if err := os.Remove(string(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, fmt.Errorf("remove data: %w", err))
	}
	return errors.Join(errs...)
}
