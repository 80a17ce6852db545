package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// startWait bounds how long a runtime may take until it answers: it may have
// hundreds of containers to find again.
const startWait = 2 * time.Minute

// readyFD is where a launched runtime says that it is ready.
const readyFD = 3

// readyEnv tells a launched runtime that someone listens on readyFD.
const readyEnv = "SINAWI_RUNTIME_READY"

// Launch makes sure that a runtime serves c and returns its process id. One that
// runs already is left alone. Otherwise command is started, with the path of a
// configuration file as its last argument, in a session of its own, so that it
// outlives this process; it must call Run with that path.
func Launch(ctx context.Context, c Config, command ...string) (pid int, err error) {
	if err := c.validate(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	unlock, err := c.lock()
	if errors.Is(err, errRunning) {
		return c.waitRunning(ctx)
	}
	if err != nil {
		return 0, err
	}
	path := filepath.Join(c.Root, "config.json")
	err = c.write(path)
	// The new process takes the lock itself. Should another Launch get in between,
	// one of the two processes ends and both callers find the other.
	unlock()
	if err != nil {
		return 0, fmt.Errorf("write runtime configuration: %w", err)
	}
	return c.start(ctx, append(command, path))
}

func (c Config) start(ctx context.Context, argv []string) (int, error) {
	if err := os.MkdirAll(filepath.Dir(c.logPath()), 0o755); err != nil {
		return 0, fmt.Errorf("create the runtime's log: %w", err)
	}
	output, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return 0, fmt.Errorf("create the runtime's log: %w", err)
	}
	defer output.Close()
	logged, _ := output.Seek(0, io.SeekEnd)
	ready, readyWrite, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), readyEnv+"=1")
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{readyWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	readyWrite.Close()
	if err != nil {
		return 0, fmt.Errorf("start the container runtime: %w", err)
	}
	pid := cmd.Process.Pid
	// Reaped when it ends, should we live that long; nobody asks how it ended.
	go cmd.Wait() //nolint:errcheck
	if err := awaitReady(ctx, ready); err != nil {
		return 0, fmt.Errorf("the container runtime did not start: %w%s", err, c.lastOutput(logged))
	}
	return pid, nil
}

// awaitReady reads the byte that a ready runtime sends; an end without it means
// that the process ended.
func awaitReady(ctx context.Context, ready *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = ready.SetReadDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := ready.Read(make([]byte, 1))
	switch {
	case n == 1:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return errors.New("its process ended")
	default:
		return err
	}
}

// lastOutput is what the runtime wrote since offset, its end, for an error message.
func (c Config) lastOutput(offset int64) string {
	data, err := os.ReadFile(c.logPath())
	if err != nil || int64(len(data)) <= offset {
		return "; see " + c.logPath()
	}
	lines := strings.Split(string(bytes.TrimSpace(data[offset:])), "\n")
	return fmt.Sprintf(": %s (all of it is in %s)", lines[len(lines)-1], c.logPath())
}

// waitRunning waits until the runtime that holds the lock answers.
func (c Config) waitRunning(ctx context.Context) (int, error) {
	conn, err := Dial(c.Socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if _, err := cri.NewRuntimeServiceClient(conn).Version(ctx, &cri.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		return 0, fmt.Errorf("a container runtime runs but does not answer on %s: %w", c.Socket, err)
	}
	return c.pid()
}

// pid is the process id of the running runtime, 0 if none runs.
func (c Config) pid() (int, error) {
	unlock, err := c.lock()
	if err == nil {
		unlock()
		return 0, nil
	}
	if !errors.Is(err, errRunning) {
		return 0, err
	}
	data, err := os.ReadFile(c.pidPath())
	if err != nil {
		return 0, fmt.Errorf("find the container runtime's process: %w", err)
	}
	return strconv.Atoi(string(data))
}

func (c Config) pidPath() string { return filepath.Join(c.Root, "pid") }

// Dial connects to the CRI socket of a runtime. Calls with grpc.WaitForReady wait
// until it is there.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}))
}

// Run is the whole of the runtime's process: it serves the configuration at path
// until ctx is done or a SIGTERM comes, and tells Launch when it is ready.
func Run(ctx context.Context, path string) error {
	c, err := ReadConfig(path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	return Serve(ctx, c, notifyReady)
}

func notifyReady() {
	if os.Getenv(readyEnv) == "" {
		return
	}
	// Whoever launched us may be gone; that is no reason to stop.
	_, _ = unix.Write(readyFD, []byte{1})
	_ = unix.Close(readyFD)
}
