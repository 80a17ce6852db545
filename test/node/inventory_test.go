package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
)

// inventory lists what Sinawi could leave behind on a machine: its processes,
// mounts, cgroups, and whatever is in the machine's network namespace.
func (m *machine) inventory(t *testing.T) []string {
	t.Helper()
	return slices.Concat(m.processes(t), m.mounts(t), m.cgroups(t), m.network(t))
}

func (m *machine) processes(t *testing.T) []string {
	t.Helper()
	var found []string
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		// Errors mean that it has ended.
		exe, _ := os.Readlink(p + "/exe")
		arguments, _ := os.ReadFile(p + "/cmdline")
		cgroup, _ := os.ReadFile(p + "/cgroup")
		if strings.Contains(exe+string(arguments), string(m.Dir)) || strings.Contains(string(cgroup), string(m.Dir.Name())) {
			found = append(found, "process "+filepath.Base(p)+" "+strings.ReplaceAll(string(arguments), "\x00", " "))
		}
	}
	return found
}

func (m *machine) mounts(t *testing.T) []string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(i.Mountpoint, string(m.Dir)) && !strings.HasPrefix(i.Mountpoint, "/run"), false
	})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, i := range mounts {
		if strings.Contains(i.Mountpoint+i.Root, string(m.Dir)) || strings.Contains(i.Mountpoint, string(m.Dir.Name())) {
			found = append(found, "mount "+i.Mountpoint)
		}
	}
	return found
}

func (m *machine) cgroups(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		groups, err := filepath.Glob(pattern + string(m.Dir.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			found = append(found, "cgroup "+g)
		}
	}
	return found
}

// network lists links, routes and nftables tables of the machine.
func (m *machine) network(t *testing.T) []string {
	t.Helper()
	var found []string
	err := m.Dial(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			found = append(found, "link "+l.Attrs().Name)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, r := range routes {
			found = append(found, "route "+r.String())
		}
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		if err != nil {
			return err
		}
		for _, table := range tables {
			found = append(found, "nftables table "+table.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// compareInventory reports what has come and stayed.
func compareInventory(t *testing.T, before, after []string) {
	t.Helper()
	for _, thing := range after {
		if !slices.Contains(before, thing) {
			t.Errorf("left behind: %s", thing)
		}
	}
}

// processList has "PID ARGUMENTS CGROUPS" of every process.
func (m *machine) processList() []string {
	m.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		m.Fatal(err)
	}
	var list []string
	for _, p := range all {
		arguments, _ := os.ReadFile(p + "/cmdline") // it may have ended
		cgroup, _ := os.ReadFile(p + "/cgroup")
		list = append(list, filepath.Base(p)+" "+strings.ReplaceAll(string(arguments), "\x00", " ")+" "+string(cgroup))
	}
	return list
}

// hostFile makes an empty file.
func (m *machine) hostFile(name string) {
	m.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		m.Fatal(err)
	}
}
