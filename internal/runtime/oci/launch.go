package oci

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// launch is what create and exec share: how a process gets its streams and where
// its pid goes.
type launch struct {
	pidFile       string
	consoleSocket string
	pidfdSocket   string
	preserveFDs   int
}

func (l *launch) register(flags *flag.FlagSet) {
	flags.StringVar(&l.pidFile, "pid-file", "", "")
	flags.StringVar(&l.consoleSocket, "console-socket", "", "")
	flags.StringVar(&l.pidfdSocket, "pidfd-socket", "", "")
	flags.IntVar(&l.preserveFDs, "preserve-fds", 0, "")
	// A process of ours never stays with the container; the word is accepted.
	flags.Bool("detach", true, "")
}

// absolute makes paths independent of the working directory, which create changes.
func (l *launch) absolute() error {
	if l.pidFile == "" {
		return nil
	}
	abs, err := filepath.Abs(l.pidFile)
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	l.pidFile = abs
	return nil
}

// run starts p in the container: as its init, which then waits for start, or as
// one more process. The pid file is written last, whole or not at all.
func (l *launch) run(container *libcontainer.Container, p *specs.Process, init bool) (err error) {
	if p.Terminal && l.consoleSocket == "" {
		return errors.New("a terminal needs --console-socket to hand it over")
	}
	if !p.Terminal && l.consoleSocket != "" {
		return errors.New("--console-socket is given but the process has no terminal")
	}
	process, err := newProcess(p)
	if err != nil {
		return err
	}
	process.Init = init
	process.LogLevel = strconv.Itoa(int(logrus.GetLevel()))
	for i := range l.preserveFDs {
		process.ExtraFiles = append(process.ExtraFiles, os.NewFile(uintptr(3+i), "preserved"))
	}
	if p.Terminal {
		socket, err := dial(l.consoleSocket)
		if err != nil {
			return fmt.Errorf("console socket: %w", err)
		}
		defer socket.Close()
		process.ConsoleSocket = socket
	} else {
		process.Stdin, process.Stdout, process.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	if l.pidfdSocket != "" {
		socket, err := dial(l.pidfdSocket)
		if err != nil {
			return fmt.Errorf("pidfd socket: %w", err)
		}
		defer socket.Close()
		process.PidfdSocket = socket
	}
	if init {
		err = container.Start(process)
	} else {
		err = container.Run(process)
	}
	if err != nil {
		return err
	}
	if l.pidFile == "" {
		return nil
	}
	if err := writePid(l.pidFile, process); err != nil {
		_ = process.Signal(unix.SIGKILL)
		_, _ = process.Wait()
		return err
	}
	return nil
}

// dial connects to a unix socket and returns it as a file of its own.
func dial(path string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.File()
}

func writePid(path string, process *libcontainer.Process) error {
	pid, err := process.Pid()
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temporary, []byte(strconv.Itoa(pid)), 0o666); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return os.Rename(temporary, path)
}

// newProcess says in libcontainer's words what the specification says.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	out := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		Label:           p.SelinuxLabel,
		NoNewPrivileges: &p.NoNewPrivileges,
		AppArmorProfile: p.ApparmorProfile,
		Scheduler:       p.Scheduler,
		IOPriority:      p.IOPriority,
	}
	for _, gid := range p.User.AdditionalGids {
		out.AdditionalGroups = append(out.AdditionalGroups, int(gid))
	}
	if p.ConsoleSize != nil {
		out.ConsoleWidth = uint16(p.ConsoleSize.Width)
		out.ConsoleHeight = uint16(p.ConsoleSize.Height)
	}
	if c := p.Capabilities; c != nil {
		out.Capabilities = &configs.Capabilities{
			Bounding:    c.Bounding,
			Effective:   c.Effective,
			Inheritable: c.Inheritable,
			Permitted:   c.Permitted,
			Ambient:     c.Ambient,
		}
	}
	for _, r := range p.Rlimits {
		kind, ok := rlimits()[r.Type]
		if !ok {
			return nil, fmt.Errorf("unknown resource limit %q", r.Type)
		}
		out.Rlimits = append(out.Rlimits, configs.Rlimit{Type: kind, Hard: r.Hard, Soft: r.Soft})
	}
	affinity, err := configs.ConvertCPUAffinity(p.ExecCPUAffinity)
	if err != nil {
		return nil, err
	}
	out.CPUAffinity = affinity
	return out, nil
}

func rlimits() map[string]int {
	return map[string]int{
		"RLIMIT_AS":         unix.RLIMIT_AS,
		"RLIMIT_CORE":       unix.RLIMIT_CORE,
		"RLIMIT_CPU":        unix.RLIMIT_CPU,
		"RLIMIT_DATA":       unix.RLIMIT_DATA,
		"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
		"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
		"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
		"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
		"RLIMIT_NICE":       unix.RLIMIT_NICE,
		"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
		"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
		"RLIMIT_RSS":        unix.RLIMIT_RSS,
		"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
		"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
		"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
		"RLIMIT_STACK":      unix.RLIMIT_STACK,
	}
}
