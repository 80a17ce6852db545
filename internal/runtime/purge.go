package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stopWait bounds how long a process that was told to end may take.
const stopWait = 10 * time.Second

// Stop ends every pod and then the runtime, and keeps images, logs and data. Pods
// get grace to end by themselves.
func Stop(ctx context.Context, c Config, grace time.Duration) error {
	pid, err := c.Running()
	if err != nil {
		return err
	}
	if pid == 0 {
		return c.sweep(ctx)
	}
	if err := c.stopPods(ctx, grace); err != nil {
		// A runtime that does not answer is ended all the same, and what it left is
		// swept: down must come to an end.
		err = fmt.Errorf("stop pods: %w", err)
		return errors.Join(err, endProcess(ctx, pid), c.sweep(ctx))
	}
	if err := endProcess(ctx, pid); err != nil {
		return err
	}
	return c.sweep(ctx)
}

// Purge ends every pod at once and the runtime, and removes its directories. No
// process, mount, network namespace, cgroup or socket of it is left.
func Purge(ctx context.Context, c Config) error {
	if err := Stop(ctx, c, 0); err != nil {
		return err
	}
	for _, dir := range []string{c.State, c.shimDir(), c.Root} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the runtime's directories: %w", err)
		}
	}
	for _, socket := range []string{c.Socket, c.Socket + ".ttrpc"} {
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the runtime's socket: %w", err)
		}
	}
	return nil
}

// stopPods stops containers with grace, then removes all pods, over CRI, so that
// the pod network gets its addresses back.
func (c Config) stopPods(ctx context.Context, grace time.Duration) error {
	conn, err := Dial(c.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	pods, err := client.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	containers, err := client.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return err
	}
	err = each(containers.Containers, func(ct *cri.Container) error {
		if ct.State != cri.ContainerState_CONTAINER_RUNNING {
			return nil
		}
		_, err := client.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: ct.Id, Timeout: int64(grace.Seconds())})
		return err
	})
	return errors.Join(err, each(pods.Items, func(p *cri.PodSandbox) error {
		if _, err := client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			return err
		}
		_, err := client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.Id})
		return err
	}))
}

// each runs f for all of items, a few at a time, and joins their errors.
func each[T any](items []T, f func(T) error) error {
	const workers = 16
	var group errgroup.Group
	group.SetLimit(workers)
	errs := make([]error, len(items))
	for i, item := range items {
		group.Go(func() error {
			errs[i] = f(item)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// sweep removes what is left when the runtime is not there to do it: shims with
// their containers, mounts below our directories, and the cgroups.
func (c Config) sweep(ctx context.Context) error {
	if err := c.endShims(ctx); err != nil {
		return err
	}
	if err := killCgroup(ctx, c.CgroupParent); err != nil {
		return err
	}
	return c.unmountAll()
}

// unmountAll unmounts everything below our directories, the deepest first.
func (c Config) unmountAll() error {
	var errs []error
	for _, dir := range []string{c.State, c.Root} {
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
		if err != nil {
			return fmt.Errorf("list mounts: %w", err)
		}
		for _, m := range slices.Backward(mounts) {
			if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
			}
		}
	}
	return errors.Join(errs...)
}
