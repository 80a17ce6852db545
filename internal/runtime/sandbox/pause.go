package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/pidfd"
	"github.com/sinawi/sinawi/internal/runtime/sandbox/pauseinit"
)

// pauseRoot is all that a pause process sees of the file system: its own program.
func (c *Controller) pauseRoot() string { return filepath.Join(c.o.Dir, ".pause") }

func (c *Controller) preparePause() error {
	if err := os.MkdirAll(c.pauseRoot(), 0o755); err != nil {
		return err
	}
	// A running program cannot be written to, so it is replaced if it differs.
	path := filepath.Join(c.pauseRoot(), "pause")
	if present, err := os.ReadFile(path); err == nil && bytes.Equal(present, c.o.Pause) {
		return nil
	}
	if err := os.WriteFile(path+".new", c.o.Pause, 0o755); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// startPause starts the process that holds the pod's namespaces. Its command line
// names the pod, for people and for recover.
func (c *Controller) startPause(p *pod) error {
	cmd := &exec.Cmd{Path: "/pause", Args: []string{"/pause", p.id}, Dir: "/", Env: []string{}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     c.pauseRoot(),
		Credential: &syscall.Credential{Uid: pauseinit.Nobody, Gid: pauseinit.Nobody},
		Setsid:     true,
		Cloneflags: cloneFlags(p.config),
	}
	if namespaces(p.config).GetPid() == cri.NamespaceMode_POD {
		// The pod's containers see this process, and through it whatever it sees:
		// the helper gives it mounts of its own before it becomes the pause program.
		cmd.Path, cmd.Args = c.o.Helper, []string{pauseinit.Name, c.pauseRoot(), p.id}
		cmd.SysProcAttr.Chroot, cmd.SysProcAttr.Credential = "", nil
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	err := inNetwork(p.netns, cmd.Start)
	if err != nil {
		return fmt.Errorf("start the sandbox's process: %w", err)
	}
	p.process, err = pidfd.Of(cmd.Process)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	if c.o.OOMScore != nil {
		path := filepath.Join("/proc", strconv.Itoa(p.process.PID), "oom_score_adj")
		if err := os.WriteFile(path, []byte(strconv.Itoa(*c.o.OOMScore)), 0); err != nil {
			return fmt.Errorf("protect the sandbox's process: %w", err)
		}
	}
	return nil
}

func cloneFlags(config *cri.PodSandboxConfig) uintptr {
	var flags uintptr
	if namespaces(config).GetNetwork() != cri.NamespaceMode_NODE {
		flags |= unix.CLONE_NEWUTS
	}
	if namespaces(config).GetIpc() != cri.NamespaceMode_NODE {
		flags |= unix.CLONE_NEWIPC
	}
	return flags
}

// inNetwork runs f on a thread that is in the network namespace at path, the host's
// if path is empty.
func inNetwork(path string, f func() error) error {
	if path == "" {
		return f()
	}
	return onThread(func() error {
		if err := enter(path, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that is thrown away afterwards: f may change what
// belongs to a thread alone.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

func enter(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, kind); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	return nil
}

// configure sets the host name and the kernel's parameters of the pod's namespaces.
func configure(p *pod) error {
	host := p.config.GetHostname()
	parameters := sysctls(p.config)
	flags := cloneFlags(p.config)
	if flags == 0 && len(parameters) == 0 {
		return nil
	}
	return onThread(func() error {
		dir := filepath.Join("/proc", strconv.Itoa(p.process.PID), "ns")
		for name, kind := range map[string]int{"net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC} {
			if err := enter(filepath.Join(dir, name), kind); err != nil {
				return err
			}
		}
		if host != "" && flags&unix.CLONE_NEWUTS != 0 {
			if err := unix.Sethostname([]byte(host)); err != nil {
				return fmt.Errorf("set host name %q: %w", host, err)
			}
		}
		for name, value := range parameters {
			path, err := sysctlPath(name)
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return fmt.Errorf("set sysctl %s: %w", name, err)
			}
		}
		return nil
	})
}

// sysctls are the pod's parameters. A pod with a network of its own may use low ports
// and ping without privileges: both concern nobody else.
func sysctls(config *cri.PodSandboxConfig) map[string]string {
	out := map[string]string{}
	if namespaces(config).GetNetwork() != cri.NamespaceMode_NODE {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for name, value := range config.GetLinux().GetSysctls() {
		out[strings.ReplaceAll(name, "/", ".")] = value
	}
	return out
}

// sysctlPath is the file of a parameter that belongs to a namespace of the pod. What
// belongs to the node is refused: a pod must not change it for others.
func sysctlPath(name string) (string, error) {
	ours := strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.") ||
		strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem"
	if !ours || strings.Contains(name, "..") {
		return "", fmt.Errorf("set sysctl %s: it is the node's, not the pod's", name)
	}
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), nil
}
