package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/pidfd"
)

// Name is how CRI's configuration calls this controller.
const Name = "sinawi"

// shimVersion is the version of the protocol that the shims speak.
const shimVersion = 3

// killWait bounds how long a killed process may take to be dead.
const killWait = 10 * time.Second

// shims says where the shim of a pod's containers serves.
type shims interface {
	Address(pod string) (string, error)
}

// Options say where sandboxes are kept.
type Options struct {
	// Dir keeps a directory per sandbox.
	Dir string
	// CRIRoot and CRIState are where CRI looks for the files of a sandbox: below
	// "sandboxes", by id.
	CRIRoot, CRIState string
	// Pause is the program that holds namespaces, Helper the one that starts it where
	// it needs a file system of its own.
	Pause  []byte
	Helper string
	// OOMScore is the pause process's oom_score_adj; nil leaves it as it is.
	OOMScore *int
	Log      *slog.Logger
}

// Controller keeps the sandboxes of a node.
type Controller struct {
	o     Options
	ctx   context.Context // ends with the runtime
	shims shims

	mu   sync.Mutex // guards pods
	pods map[string]*pod
}

// pod is one sandbox. Its fields are set before it is in Controller.pods, or by Start.
type pod struct {
	id     string
	config *cri.PodSandboxConfig
	netns  string

	process *pidfd.Process // nil before Start
	created time.Time
	address string
	ended   chan struct{} // closed when process has ended
	endedAt time.Time     // valid once ended is closed
}

var _ sandbox.Controller = (*Controller)(nil)

// New finds the sandboxes that an earlier runtime left and watches their processes
// until ctx ends.
func New(ctx context.Context, s shims, o Options) (*Controller, error) {
	c := &Controller{o: o, ctx: ctx, shims: s, pods: map[string]*pod{}}
	if err := c.preparePause(); err != nil {
		return nil, fmt.Errorf("prepare pods' sandboxes: %w", err)
	}
	if err := c.recover(); err != nil {
		return nil, fmt.Errorf("find pods' sandboxes: %w", err)
	}
	return c, nil
}

// Create notes what Start is to make.
func (c *Controller) Create(_ context.Context, info sandbox.Sandbox, opts ...sandbox.CreateOpt) error {
	var o sandbox.CreateOptions
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return err
		}
	}
	config := &cri.PodSandboxConfig{}
	if o.Options == nil {
		return errors.New("create sandbox: no configuration given")
	}
	if err := proto.Unmarshal(o.Options.GetValue(), config); err != nil {
		return fmt.Errorf("create sandbox: parse configuration: %w", err)
	}
	if users := config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions(); users.GetMode() == cri.NamespaceMode_POD && users != nil {
		return fmt.Errorf("create sandbox: user namespaces need the RuntimeClass handler %q: %w", "runc", errdefs.ErrNotImplemented)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[info.ID] = &pod{id: info.ID, config: config, netns: o.NetNSPath, ended: make(chan struct{})}
	return nil
}

// Start makes the sandbox. It leaves nothing behind if it cannot.
func (c *Controller) Start(_ context.Context, id string) (sandbox.ControllerInstance, error) {
	p, err := c.get(id)
	if err != nil {
		return sandbox.ControllerInstance{}, err
	}
	if err := c.start(p); err != nil {
		return sandbox.ControllerInstance{}, errors.Join(err, c.remove(p))
	}
	go c.watch(p)
	return sandbox.ControllerInstance{
		SandboxID: id, Pid: uint32(p.process.PID), CreatedAt: p.created, Address: p.address, Version: shimVersion,
	}, nil
}

func (c *Controller) start(p *pod) error {
	address, err := c.shims.Address(p.id)
	if err != nil {
		return err
	}
	p.address = address
	if err := c.makeFiles(p); err != nil {
		return err
	}
	if err := c.record(p, false); err != nil {
		return err
	}
	if err := c.startPause(p); err != nil {
		return err
	}
	if err := joinCgroup(p); err != nil {
		return err
	}
	if err := configure(p); err != nil {
		return err
	}
	p.created = time.Now()
	return c.record(p, true)
}

// watch notes the end of the sandbox's process.
func (c *Controller) watch(p *pod) {
	if err := p.process.Wait(c.ctx); err != nil {
		return // the runtime ends; the sandbox does not
	}
	p.endedAt = time.Now()
	close(p.ended)
}

// Platform is this machine's.
func (c *Controller) Platform(context.Context, string) (ocispec.Platform, error) {
	return platforms.DefaultSpec(), nil
}

// Stop ends the sandbox's process.
func (c *Controller) Stop(ctx context.Context, id string, _ ...sandbox.StopOpt) error {
	p, err := c.get(id)
	if err != nil {
		return err
	}
	if p.process == nil {
		return nil
	}
	if err := p.process.Kill(); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return fmt.Errorf("stop sandbox %s: process %d does not end: %w", id, p.process.PID, ctx.Err())
	}
	return c.removeMounts(id)
}

// Wait returns when the sandbox's process has ended.
func (c *Controller) Wait(ctx context.Context, id string) (sandbox.ExitStatus, error) {
	p, err := c.get(id)
	if err != nil {
		return sandbox.ExitStatus{}, err
	}
	select {
	case <-p.ended:
		return sandbox.ExitStatus{ExitStatus: 137, ExitedAt: p.endedAt}, nil
	case <-ctx.Done():
		return sandbox.ExitStatus{}, ctx.Err()
	}
}

// Status says whether the sandbox's process lives.
func (c *Controller) Status(_ context.Context, id string, verbose bool) (sandbox.ControllerStatus, error) {
	p, err := c.get(id)
	if err != nil {
		return sandbox.ControllerStatus{}, err
	}
	s := sandbox.ControllerStatus{
		SandboxID: id, CreatedAt: p.created, Address: p.address, Version: shimVersion,
		State: cri.PodSandboxState_SANDBOX_NOTREADY.String(),
	}
	if p.process != nil {
		s.Pid = uint32(p.process.PID)
		select {
		case <-p.ended:
			s.ExitedAt = p.endedAt
		default:
			s.State = cri.PodSandboxState_SANDBOX_READY.String()
		}
	}
	if verbose {
		info, err := json.Marshal(map[string]any{"pid": s.Pid, "sandboxNetns": p.netns, "runtimeType": Name})
		if err != nil {
			return s, err
		}
		s.Info = map[string]string{"info": string(info)}
	}
	return s, nil
}

// Shutdown removes what is left of the sandbox.
func (c *Controller) Shutdown(ctx context.Context, id string) error {
	p, err := c.get(id)
	if err != nil {
		return errors.Join(err, c.removeFiles(id))
	}
	if err := c.Stop(ctx, id); err != nil {
		return err
	}
	return c.remove(p)
}

// Metrics is what the pod uses, with all its containers.
func (c *Controller) Metrics(_ context.Context, id string) (*types.Metric, error) {
	p, err := c.get(id)
	if err != nil {
		return nil, err
	}
	return metrics(id, p.config.GetLinux().GetCgroupParent())
}

// Update has nothing to do: a pod's resources are set by the agent, on its cgroup.
func (c *Controller) Update(context.Context, string, sandbox.Sandbox, ...string) error { return nil }

func (c *Controller) get(id string) (*pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[id]
	if !ok {
		return nil, fmt.Errorf("sandbox %s: %w", id, errdefs.ErrNotFound)
	}
	return p, nil
}

// remove removes the sandbox, whatever of it there is.
func (c *Controller) remove(p *pod) error {
	var errs []error
	if p.process != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), killWait)
		defer cancel()
		errs = append(errs, p.process.Kill())
		select {
		case <-p.ended: // the watcher has seen it
		default:
			errs = append(errs, p.process.Wait(ctx))
		}
		p.process.Close()
	}
	errs = append(errs, leaveCgroup(p), c.removeFiles(p.id))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", p.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pods, p.id)
	return nil
}

func (c *Controller) dir(id string) string { return filepath.Join(c.o.Dir, id) }

// links are the places where CRI looks for the sandbox's files. They are links,
// because CRI clears at start what is a directory there and no container of its own.
func (c *Controller) links(id string) []string {
	return []string{filepath.Join(c.o.CRIRoot, "sandboxes", id), filepath.Join(c.o.CRIState, "sandboxes", id)}
}

func (c *Controller) removeFiles(id string) error {
	if err := c.removeMounts(id); err != nil {
		return err
	}
	for _, link := range c.links(id) {
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(c.dir(id))
}
