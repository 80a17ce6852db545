package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/containerd/containerd/v2/cmd/containerd/server"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/log"

	"github.com/sinawi/sinawi/internal/runtime/helperbin"
	"github.com/sinawi/sinawi/internal/runtime/image"
)

// gcPercent trades a little work for memory: the runtime mostly waits.
const gcPercent = 40

// Serve serves CRI on c.Socket until ctx is done. It calls ready once, when the
// first request can be answered. Containers live on when it returns. A process can
// Serve only once.
func Serve(ctx context.Context, c Config, ready func()) error {
	if err := c.validate(); err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	if err := log.SetLevel(orDefault(c.LogLevel, "warn")); err != nil {
		return fmt.Errorf("runtime log level: %w", err)
	}
	log.L.Logger.SetFormatter(quiet{log.L.Logger.Formatter})
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	helper, err := helperbin.Unpack(c.helperDir())
	if err != nil {
		return err
	}
	// containerd finds the shim by its name on PATH, and shims inherit it.
	if err := os.Setenv("PATH", helper+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	snapshotter := "overlayfs"
	if err := overlayWorks(c.Root); err != nil {
		log.G(ctx).WithError(err).Warn("overlay file systems do not work here: images are copied instead, which is slow and takes space")
		snapshotter = "native"
	}
	restrictOOM := !canLowerOOMScore()
	revive, err := c.registerSandboxes(helper, sandboxScore(restrictOOM), slog.Default())
	if err != nil {
		return err
	}
	config := c.serverConfig(helper, snapshotter, restrictOOM)
	if err := server.CreateTopLevelDirectories(config); err != nil {
		return fmt.Errorf("create the runtime's directories: %w", err)
	}
	if err := mount.SetTempMountLocation(filepath.Join(c.State, "tmpmounts")); err != nil {
		return fmt.Errorf("create the runtime's directories: %w", err)
	}
	if _, err := mount.CleanupTempMounts(0); err != nil {
		log.G(ctx).WithError(err).Warn("clean up temporary mounts")
	}
	s, err := server.New(ctx, config)
	if err != nil {
		return fmt.Errorf("start the container runtime: %w", err)
	}
	defer s.Stop()
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("serve the container runtime on %s: %w", c.Socket, err)
	}
	s.Wait()
	if err := c.endOrphans(ctx); err != nil {
		return err
	}
	if err := image.EnsurePause(ctx, c.Socket); err != nil {
		return err
	}
	revive()
	slog.Info("container runtime serves", "socket", c.Socket, "snapshotter", snapshotter)
	ready()
	// What starting took is given back; at rest the runtime is small.
	debug.FreeOSMemory()
	<-ctx.Done()
	return nil
}

// prepare makes the directories, and clears what an earlier boot left in State: no
// process or mount in it lives any more, and process ids mean others now.
func (c Config) prepare() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	mark := filepath.Join(c.State, "boot_id")
	if last, err := os.ReadFile(mark); err == nil && string(last) != string(boot) {
		if err := os.RemoveAll(c.State); err != nil {
			return fmt.Errorf("clear the state of the last boot: %w", err)
		}
	}
	for _, dir := range []string{c.State, filepath.Dir(c.Socket), c.CNIConfDir, c.registryConfDir(), filepath.Join(c.State, "tmp")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("create the runtime's directories: %w", err)
		}
	}
	if err := os.MkdirAll(c.shimDir(), 0o700); err != nil {
		return fmt.Errorf("create the shims' directory: %w", err)
	}
	return os.WriteFile(mark, boot, 0o644)
}

// overlayWorks reports whether an overlay file system can be mounted on top of dir.
func overlayWorks(dir string) error {
	base, err := os.MkdirTemp(dir, "overlay-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
	merged := filepath.Join(base, "merged")
	m := mount.Mount{Type: "overlay", Source: "overlay", Options: strings.Split(options, ",")}
	if err := m.Mount(merged); err != nil {
		return err
	}
	return mount.Unmount(merged, 0)
}

// canLowerOOMScore reports whether this process may make others less likely to be
// killed for memory: it needs CAP_SYS_RESOURCE (bit 24), which containers and some
// virtual machines lack.
func canLowerOOMScore() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		var mask uint64
		if _, err := fmt.Sscanf(line, "CapEff:\t%x", &mask); err == nil {
			return mask&(1<<24) != 0
		}
	}
	return false
}

// sandboxScore is the score of the processes that hold pods together: the last to be
// killed for memory, where that is allowed.
func sandboxScore(restricted bool) *int {
	score := -998
	if restricted {
		return nil
	}
	return &score
}

func orDefault(s, byDefault string) string {
	if s == "" {
		return byDefault
	}
	return s
}
