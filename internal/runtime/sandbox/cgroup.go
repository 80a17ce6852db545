package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const cgroupRoot = "/sys/fs/cgroup"

// group is the cgroup of the sandbox's own process. It has one of its own because
// with cgroup v2 a group of groups cannot have members.
func (p *pod) group() string {
	parent := p.config.GetLinux().GetCgroupParent()
	if parent == "" {
		return ""
	}
	return filepath.Join(parent, p.id)
}

func joinCgroup(p *pod) error {
	group := p.group()
	if group == "" {
		return nil
	}
	err := join(group, p.process.PID)
	if err != nil {
		return fmt.Errorf("put the sandbox's process into cgroup %s: %w", group, err)
	}
	return nil
}

func join(group string, pid int) error {
	if cgroups.Mode() == cgroups.Unified {
		m, err := cgroup2.NewManager(cgroupRoot, group, &cgroup2.Resources{})
		if err != nil {
			return err
		}
		return m.AddProc(uint64(pid))
	}
	shares := uint64(2) // it never runs
	g, err := cgroup1.New(cgroup1.StaticPath(group), &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
	if err != nil {
		return err
	}
	return g.Add(cgroup1.Process{Pid: pid})
}

// leaveCgroup removes the group of a process that has ended.
func leaveCgroup(p *pod) error {
	group := p.group()
	if group == "" {
		return nil
	}
	var err error
	if cgroups.Mode() == cgroups.Unified {
		var m *cgroup2.Manager
		if m, err = cgroup2.Load(group); err == nil {
			err = m.Delete()
		}
	} else {
		var g cgroup1.Cgroup
		if g, err = cgroup1.Load(cgroup1.StaticPath(group)); err == nil {
			err = g.Delete()
		}
	}
	if err != nil && !errors.Is(err, cgroup1.ErrCgroupDeleted) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", group, err)
	}
	return nil
}

// metrics reads what a pod's cgroup has used, in containerd's words.
func metrics(id, group string) (*types.Metric, error) {
	if group == "" {
		return nil, fmt.Errorf("usage of sandbox %s: it has no cgroup", id)
	}
	data, err := usage(group)
	if err != nil {
		return nil, fmt.Errorf("usage of sandbox %s: %w", id, err)
	}
	encoded, err := typeurl.MarshalAnyToProto(data)
	if err != nil {
		return nil, fmt.Errorf("usage of sandbox %s: %w", id, err)
	}
	return &types.Metric{Timestamp: timestamppb.New(time.Now()), ID: id, Data: encoded}, nil
}

func usage(group string) (any, error) {
	if cgroups.Mode() == cgroups.Unified {
		m, err := cgroup2.Load(group)
		if err != nil {
			return nil, err
		}
		return m.StatFiltered(cgroup2.StatCPU | cgroup2.StatMemory)
	}
	g, err := cgroup1.Load(cgroup1.StaticPath(group))
	if err != nil {
		return nil, err
	}
	return g.Stat(cgroup1.IgnoreNotExist)
}
