package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/process"
)

// Node is one machine of the lab.
type Node struct {
	Name string
	Dir  instance.Dir
	IP   netip.Addr
	// Flags are given to every `sinawi up` on it.
	Flags []string

	lab  *Lab
	net  *namespace
	link string // its end of the cable on the host's side
}

// AddNode makes a machine with the given name on which nothing runs yet. flags
// are given to every `sinawi up` on it.
func (l *Lab) AddNode(name string, flags ...string) (*Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.nodes) + 1
	ip := l.subnet.Addr().As4()
	ip[3] = byte(10 + number)
	n := &Node{
		Name: name, IP: netip.AddrFrom4(ip), lab: l, Flags: flags,
		Dir:  instance.Dir(filepath.Join(l.dir, name)),
		link: "lab" + l.id + "n" + strconv.Itoa(number),
	}
	if err := os.MkdirAll(string(n.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("add node %s: %w", name, err)
	}
	var err error
	if n.net, err = newNamespace(); err != nil {
		return nil, fmt.Errorf("add node %s: %w", name, err)
	}
	if err := n.net.connect(l.bridge, n.link, netip.PrefixFrom(n.IP, l.subnet.Bits()), l.gateway()); err != nil {
		return nil, errors.Join(fmt.Errorf("add node %s: %w", name, err), n.net.file.Close())
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}

// Run runs a program inside the node's network and returns what it printed.
func (n *Node) Run(ctx context.Context, program string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	n.setEnv(cmd)
	err := n.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s %v: %w\n%s", filepath.Base(program), args, err, out.String())
	}
	return out.String(), nil
}

func (n *Node) setEnv(cmd *exec.Cmd) {
	cmd.Env = append(os.Environ(), "KUBECONFIG="+n.Dir.Kubeconfig(), "HOME="+string(n.Dir), "SINAWI_DATA_DIR="+string(n.Dir))
}

// Command is a command of the binary under test with the node's environment,
// for callers that need more than its output. Start starts it.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.lab.program, args...)
	n.setEnv(cmd)
	return cmd
}

// Start starts a command inside the node's network.
func (n *Node) Start(cmd *exec.Cmd) error { return n.net.do(cmd.Start) }

// Sinawi runs a command of the binary under test on the node.
func (n *Node) Sinawi(ctx context.Context, args ...string) (string, error) {
	return n.Run(ctx, n.lab.program, args...)
}

// Kubectl runs the built-in kubectl on the node.
func (n *Node) Kubectl(ctx context.Context, args ...string) (string, error) {
	return n.Sinawi(ctx, append([]string{"kubectl"}, args...)...)
}

// Up starts server, agent and runtime and returns when all is ready.
func (n *Node) Up(ctx context.Context) (string, error) {
	args := append([]string{"up", "--detach", "--data-dir=" + string(n.Dir), "--node-name=" + n.Name, "--node-ip=" + n.IP.String()}, n.Flags...)
	return n.Sinawi(ctx, args...)
}

// Down stops everything on the node and removes its data.
func (n *Node) Down(ctx context.Context) (string, error) {
	return n.Sinawi(ctx, "down", "--purge", "--data-dir="+string(n.Dir))
}

// Config is an administrator's way to the node's API server.
func (n *Node) Config() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", n.Dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig of %s: %w", n.Name, err)
	}
	return cfg, nil
}

// Dial runs f where the node's network is: connections that f makes start from
// the node itself. f must not start goroutines that dial.
func (n *Node) Dial(f func() error) error { return n.net.do(f) }

// Listen listens on an address of the node, as a program on it would.
func (n *Node) Listen(address string) (l net.Listener, err error) {
	err = n.net.do(func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Part is a process of a node that can be killed.
type Part string

// The processes of a node.
const (
	Server  Part = "server"
	Runtime Part = "runtime"
)

// Kill ends a process with SIGKILL, as a crash would.
func (n *Node) Kill(ctx context.Context, part Part) error {
	p, err := n.Process(part)
	if err != nil {
		return fmt.Errorf("kill %s of %s: %w", part, n.Name, err)
	}
	if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill %s of %s: %w", part, n.Name, err)
	}
	return p.Wait(ctx)
}

// Process returns the running process of a part.
func (n *Node) Process(part Part) (process.Process, error) {
	if part == Runtime {
		return process.Find(n.Dir.RuntimeProcess())
	}
	return process.Find(n.Dir.ServerProcess())
}

// Cut pulls the node's cable; Mend plugs it in again.
func (n *Node) Cut() error { return setLink(n.link, false) }

// Mend undoes Cut.
func (n *Node) Mend() error { return setLink(n.link, true) }

// remove ends what still runs on the node and frees what it holds.
func (n *Node) remove(ctx context.Context) error {
	var err error
	if _, missing := os.Stat(n.Dir.Run()); missing == nil { // it was brought up once
		_, err = n.Down(ctx)
	}
	// The namespace goes with its last process and file, and the cable with it.
	return errors.Join(err, n.net.file.Close(), os.RemoveAll(string(n.Dir)))
}
