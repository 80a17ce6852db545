package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sinawi/sinawi/internal/instance"
)

// server is a running server without agent.
type server struct {
	cmd    *exec.Cmd
	dir    string
	config *rest.Config
	ready  time.Duration // from exec
}

// pause between two questions to a server that is not there yet; it is the
// precision of the start times.
const pause = 2 * time.Millisecond

const (
	readyTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// start runs a server over dir and returns when its API is ready.
func start(ctx context.Context, program, dir string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, cmd: exec.Command(program, "server", "--disable=agent", "--data-dir="+dir,
		"--api-port="+strconv.Itoa(port), "--node-ip=127.0.0.1", "--node-name=bench")}
	log, err := os.Create(filepath.Join(dir, "bench.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := s.ask(ctx)
		if err == nil {
			s.ready = time.Since(began)
			return s, nil
		}
		select {
		case <-ctx.Done():
			s.remove()
			return nil, errors.Join(fmt.Errorf("API not ready: %w", err), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// ask returns nil when the API is ready.
func (s *server) ask(ctx context.Context) error {
	if s.config == nil {
		config, err := clientcmd.BuildConfigFromFlags("", instance.Dir(s.dir).Kubeconfig())
		if err != nil {
			return err
		}
		config.QPS = -1
		s.config = config
	}
	c, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return err
	}
	_, err = c.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

// remove stops the server and removes its data.
func (s *server) remove() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait() // says that it was told to stop
	timer.Stop()
	_ = os.RemoveAll(s.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// transport is a connection of its own, as clients on other machines have.
func (s *server) transport() (*http.Transport, error) {
	tls, err := rest.TLSConfigFor(s.config)
	if err != nil {
		return nil, err
	}
	return &http.Transport{TLSClientConfig: tls, ForceAttemptHTTP2: true, DisableCompression: true}, nil
}

// client speaks over a connection of its own, in the content type, as the user
// or as the administrator for "".
func (s *server) client(contentType, user string) (kubernetes.Interface, error) {
	transport, err := s.transport()
	if err != nil {
		return nil, err
	}
	config := rest.CopyConfig(s.config)
	config.ContentType = contentType
	config.TLSClientConfig = rest.TLSClientConfig{}
	config.Transport = transport
	config.Impersonate.UserName = user
	return kubernetes.NewForConfig(config)
}

// cpu is the CPU time that the server's threads have taken, more precisely than
// in the clock ticks of the process. Threads of a Go process seldom end.
func (s *server) cpu() time.Duration {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil {
		panic(err) // the pattern is wrong
	}
	var sum time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // ended
		}
		spent, _, _ := strings.Cut(string(data), " ")
		if n, err := strconv.ParseInt(spent, 10, 64); err == nil {
			sum += time.Duration(n)
		}
	}
	return sum
}

// memory is the process's proportional set size in bytes, and what of it is
// not of files.
func (s *server) memory() (pss, anonymous int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Pss:":
			pss = n << 10
		case "Pss_Anon:":
			anonymous = n << 10
		}
	}
	return pss, anonymous
}
