// Package nodeshim keeps the node's shims: the few processes that are the parents of
// all containers, in place of one for every pod. Pods are spread over them, so that
// the death of one does not take all.
//
// A shim outlives the runtime that started it; the next one finds it by its socket.
// One that dies is started again at once, because pods go on and their containers
// are started again in it; the containers that it had are ended by containerd. The
// package never talks to a shim: that is containerd's.
package nodeshim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/pidfd"
)

// Mode is the environment variable by which the helper knows that it serves many pods.
const Mode = "SINAWI_NODE_SHIM"

// Prefix begins the ids of node shims, which are no containers'.
const Prefix = "node-"

// count is how many shims a node has. Each costs about 6 MB.
const count = 2

// restartPause keeps a shim that cannot live from keeping the machine busy.
const restartPause = 200 * time.Millisecond

// Options say where the shims are and to whom they report.
type Options struct {
	// Program is the shim's file.
	Program string
	// Dir keeps a directory per shim.
	Dir string
	// SocketDir holds their sockets; its path is short.
	SocketDir string
	// Address is containerd's socket; events go to Address with ".ttrpc".
	Address string
	// Namespace is containerd's namespace.
	Namespace string
	Log       *slog.Logger
}

// Pool is the node's shims.
type Pool struct {
	o   Options
	ctx context.Context // ends with the runtime

	mu      sync.Mutex // guards running
	running map[int]bool
}

// New returns the shims as an earlier runtime left them. Those that live are watched
// until ctx ends.
func New(ctx context.Context, o Options) (*Pool, error) {
	p := &Pool{o: o, ctx: ctx, running: map[int]bool{}}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("create the shims' directory: %w", err)
	}
	for n := range count {
		pid, ok := p.find(n)
		if !ok {
			continue
		}
		process, err := pidfd.Open(pid)
		if err != nil {
			continue // it has just ended
		}
		p.running[n] = true
		go p.watch(n, process)
	}
	return p, nil
}

// Revive starts the shims again that an earlier runtime had and that ended while
// there was none, as when all processes were killed. It is called when containerd
// has looked for their containers, which are not to be found in the new ones.
func (p *Pool) Revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := range count {
		if _, err := os.Stat(filepath.Join(p.dir(n), "pid")); err != nil || p.running[n] {
			continue
		}
		process, err := p.start(n)
		if err != nil {
			p.o.Log.Error("start the node's shim", "shim", id(n), "err", err)
			continue
		}
		p.running[n] = true
		go p.watch(n, process)
	}
}

// find returns a shim's process, if it listens.
func (p *Pool) find(n int) (int, bool) {
	data, err := os.ReadFile(filepath.Join(p.dir(n), "pid"))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return 0, false
	}
	line, err := os.ReadFile(filepath.Join("/proc", string(data), "cmdline"))
	if err != nil || !strings.Contains(string(line), "\x00-id\x00"+id(n)+"\x00-address\x00"+p.o.Address+"\x00") {
		return 0, false
	}
	conn, err := net.DialTimeout("unix", p.socket(n), time.Second)
	if err != nil {
		return 0, false
	}
	conn.Close()
	return pid, true
}

// Address is where the shim for a pod serves, as containerd writes it. The shim is
// started if it does not run.
func (p *Pool) Address(pod string) (string, error) {
	n := shard(pod)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running[n] {
		process, err := p.start(n)
		if err != nil {
			return "", fmt.Errorf("start the node's shim: %w", err)
		}
		p.running[n] = true
		go p.watch(n, process)
	}
	return "ttrpc+unix://" + p.socket(n), nil
}

// shard says which shim serves a pod. It must not change while pods live.
func shard(pod string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(pod))
	return int(h.Sum32() % count)
}

func id(n int) string { return Prefix + strconv.Itoa(n) }

func (p *Pool) dir(n int) string { return filepath.Join(p.o.Dir, id(n)) }

func (p *Pool) socket(n int) string { return filepath.Join(p.o.SocketDir, id(n)) }

// start starts a shim. Its socket listens before its process runs, so that nobody
// has to wait for it.
func (p *Pool) start(n int) (*pidfd.Process, error) {
	if err := os.MkdirAll(p.dir(n), 0o711); err != nil {
		return nil, err
	}
	if err := os.Remove(p.socket(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.socket(n), Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(p.o.Program, "-namespace", p.o.Namespace, "-id", id(n), "-address", p.o.Address)
	cmd.Dir = p.dir(n)
	cmd.Env = append(os.Environ(), Mode+"=1", "GOMAXPROCS=4", "TTRPC_ADDRESS="+p.o.Address+".ttrpc")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	process, err := pidfd.Of(cmd.Process)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir(n), "pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return process, nil
}

// watch starts a shim again whenever it ends, until the runtime ends.
func (p *Pool) watch(n int, process *pidfd.Process) {
	for {
		if err := process.Wait(p.ctx); err != nil {
			process.Close()
			return // the runtime ends; the shim does not
		}
		process.Close()
		p.o.Log.Error("a shim of the node ended, its containers end with it; starting it again", "shim", id(n))
		for {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(restartPause):
			}
			next, err := p.start(n)
			if err == nil {
				process = next
				break
			}
			p.o.Log.Error("start the node's shim", "shim", id(n), "err", err)
		}
	}
}
