package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sinawi/sinawi/internal/process"
)

// server is the process that is measured: a control plane without a node.
type server struct {
	dir     string
	command *exec.Cmd
	config  *rest.Config
	client  kubernetes.Interface
	output  *os.File

	stop context.CancelFunc // of the sampling
	done chan struct{}
	mu   sync.Mutex
	peak int64 // guarded by mu; bytes
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute
	sampling     = 500 * time.Millisecond

	profileSeconds = "8"
)

func startServer(ctx context.Context, o options) (*server, error) {
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, done: make(chan struct{})}
	if s.output, err = os.Create(filepath.Join(dir, "server.log")); err != nil {
		return nil, err
	}
	s.command = exec.Command(o.program, "server", "--data-dir", filepath.Join(dir, "data"),
		"--api-port", strconv.Itoa(port), "--node-ip", "127.0.0.1", "--node-name", "scale", "--disable", "agent", "--pod-cidr", "11.0.0.0/8") // room for 65,536 nodes
	s.command.Stdout, s.command.Stderr = s.output, s.output
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.program, err)
	}
	sampled, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.sample(sampled)
	if err := s.connect(ctx); err != nil {
		data, _ := os.ReadFile(s.output.Name())
		return nil, errors.Join(fmt.Errorf("%w; the server said:\n%s", err, data), s.close())
	}
	return s, nil
}

// connect waits until the server answers that it is ready.
func (s *server) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) ready(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "kubeconfig"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("no kubeconfig yet"))
	}
	config, err := clientcmd.BuildConfigFromFlags("", files[0])
	if err != nil {
		return err
	}
	config.QPS = -1
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	s.config, s.client = config, client
	return client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// close ends the server and removes its data.
func (s *server) close() error {
	s.stop()
	<-s.done
	ended := make(chan error, 1)
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	go func() { ended <- s.command.Wait() }()
	select {
	case <-ended: // how it ended after a signal says nothing
	case <-time.After(stopTimeout):
		_ = s.command.Process.Kill()
		<-ended
	}
	return errors.Join(s.output.Close(), os.RemoveAll(s.dir))
}

// sample keeps the peak of the server's memory.
func (s *server) sample(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	for {
		now := s.memory()
		s.mu.Lock()
		s.peak = max(s.peak, now)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resetPeak returns the peak since the last call.
func (s *server) resetPeak() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	peak := s.peak
	s.peak = 0
	return peak
}

func (s *server) memory() int64 { return process.Memory(s.command.Process.Pid) }

// cpu is the time that the server has computed for.
func (s *server) cpu() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	// USER_HZ is 100 on every architecture that Linux has today.
	return time.Duration(ticks) * 10 * time.Millisecond
}

// profile writes a CPU profile of the server's next seconds, and then one of its
// memory.
func (s *server) profile(ctx context.Context, o options, name string) (wait func()) {
	if o.profile == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, kind := range []string{"profile", "heap"} {
			if err := s.fetch(ctx, kind, filepath.Join(o.profile, name+"."+kind)); err != nil {
				progress("no profile: %v", err)
			}
		}
	}()
	return func() { <-done }
}

// seconds asks for a while of computing, and for memory as it is (a heap
// profile over a time would be a difference).
func seconds(kind string) (string, string) {
	if kind == "heap" {
		return "debug", "0"
	}
	return "seconds", profileSeconds
}

func (s *server) fetch(ctx context.Context, kind, file string) error {
	stream, err := s.client.CoreV1().RESTClient().Get().AbsPath("/debug/pprof/"+kind).Param(seconds(kind)).
		SetHeader("Accept", "*/*").Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
