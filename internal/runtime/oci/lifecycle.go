package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// killWait bounds how long a killed container may take to be gone. A process can
// hang in the kernel (a dead network file system), so this ends.
const killWait = 10 * time.Second

// start lets a created container run.
func start(inv invocation) error {
	container, err := inv.load(newFlags(inv.name))
	if err != nil {
		return err
	}
	status, err := container.Status()
	if err != nil {
		return err
	}
	if status != libcontainer.Created {
		return fmt.Errorf("cannot start a container that is %s", status)
	}
	return container.Exec()
}

// execute runs one more process in a running container.
func execute(inv invocation) error {
	var (
		l            launch
		processPath  string
		ignorePaused bool
	)
	flags := newFlags(inv.name)
	l.register(flags)
	flags.StringVar(&processPath, "process", "", "")
	flags.BoolVar(&ignorePaused, "ignore-paused", false, "")
	container, err := inv.load(flags)
	if err != nil {
		return err
	}
	if err := l.absolute(); err != nil {
		return err
	}
	data, err := os.ReadFile(processPath)
	if err != nil {
		return fmt.Errorf("read process: %w", err)
	}
	p, err := parseProcess(data)
	if err != nil {
		return err
	}
	status, err := container.Status()
	if err != nil {
		return err
	}
	if status == libcontainer.Stopped || status == libcontainer.Paused && !ignorePaused {
		return fmt.Errorf("cannot exec in a container that is %s", status)
	}
	return l.run(container, p, false)
}

// state prints the state document of the OCI specification.
func state(inv invocation) error {
	container, err := inv.load(newFlags(inv.name))
	if err != nil {
		return err
	}
	status, err := container.Status()
	if err != nil {
		return err
	}
	s, err := container.State()
	if err != nil {
		return err
	}
	bundle, annotations := utils.Annotations(s.Config.Labels)
	document := struct {
		specs.State
		Rootfs  string    `json:"rootfs"`
		Created time.Time `json:"created"`
	}{
		State: specs.State{
			Version:     s.Config.Version,
			ID:          s.ID,
			Status:      specs.ContainerState(status.String()),
			Bundle:      bundle,
			Annotations: annotations,
		},
		Rootfs:  s.Config.Rootfs,
		Created: s.Created,
	}
	if status != libcontainer.Stopped {
		document.Pid = s.InitProcessPid
	}
	return json.NewEncoder(inv.out).Encode(document)
}

// kill sends a signal to the container's init process; SIGKILL also ends every
// other process of a container without a pid namespace of its own.
func kill(inv invocation) error {
	flags := newFlags(inv.name)
	all := flags.Bool("all", false, "")
	id, rest, err := inv.parseID(flags, 1)
	if err != nil {
		return err
	}
	signal := unix.SIGTERM
	if len(rest) == 1 {
		if signal, err = parseSignal(rest[0]); err != nil {
			return err
		}
	}
	container, err := libcontainer.Load(inv.root, id)
	if err != nil {
		return err
	}
	err = container.Signal(signal)
	if *all && errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return err
}

// parseSignal understands 9, KILL and SIGKILL.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	signal := unix.SignalNum(name)
	if signal == 0 {
		return 0, fmt.Errorf("%w: unknown signal %q", errUsage, s)
	}
	return signal, nil
}

// remove deletes what a stopped container left; with --force it ends it first.
func remove(inv invocation) error {
	flags := newFlags(inv.name)
	force := flags.Bool("force", false, "")
	id, _, err := inv.parseID(flags, 0)
	if err != nil {
		return err
	}
	container, err := libcontainer.Load(inv.root, id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		// A create that was cut short leaves a directory without a state.
		if filepath.Base(id) == id && id != "." && id != ".." {
			_ = os.RemoveAll(filepath.Join(inv.root, id))
		}
		if *force {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if *force {
		return destroy(container)
	}
	status, err := container.Status()
	if err != nil {
		return err
	}
	switch status {
	case libcontainer.Stopped:
		return container.Destroy()
	case libcontainer.Created:
		return destroy(container)
	default:
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", id, status)
	}
}

// destroy kills all that runs in the container, waits until it is gone and
// removes it. Even a stopped one is killed: without a pid namespace of its own,
// others of its processes may still live.
func destroy(container *libcontainer.Container) error {
	_ = container.Signal(unix.SIGKILL)
	s, err := container.State()
	if err != nil {
		return err
	}
	if err := waitGone(s.InitProcessPid, s.InitProcessStartTime); err != nil {
		return err
	}
	return container.Destroy()
}

// ps prints the pids of the container's processes. Only JSON: the shim asks for
// nothing else.
func ps(inv invocation) error {
	flags := newFlags(inv.name)
	format := flags.String("format", "json", "")
	container, err := inv.load(flags)
	if err != nil {
		return err
	}
	if *format != "json" {
		return fmt.Errorf("%w: ps prints json only", errUsage)
	}
	pids, err := container.Processes()
	if err != nil {
		return err
	}
	return json.NewEncoder(inv.out).Encode(pids)
}

func pause(inv invocation) error {
	container, err := inv.load(newFlags(inv.name))
	if err != nil {
		return err
	}
	return container.Pause()
}

func resume(inv invocation) error {
	container, err := inv.load(newFlags(inv.name))
	if err != nil {
		return err
	}
	return container.Resume()
}
