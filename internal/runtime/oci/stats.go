package oci

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/types"
)

// events prints the container's resource use once, as `events --stats` does. The
// streaming form is not offered: memory events reach the shim by other ways, and
// usage is read from the cgroup directly.
func events(inv invocation) error {
	flags := newFlags(inv.name)
	once := flags.Bool("stats", false, "")
	container, err := inv.load(flags)
	if err != nil {
		return err
	}
	if !*once {
		return fmt.Errorf("%w: events needs --stats", errUsage)
	}
	s, err := container.Stats()
	if err != nil {
		return err
	}
	event := types.Event{Type: "stats", ID: container.ID()}
	if s.CgroupStats != nil {
		stats := convert(s.CgroupStats)
		stats.NetworkInterfaces = s.Interfaces
		event.Data = stats
	}
	return json.NewEncoder(inv.out).Encode(event)
}

func convert(cg *cgroups.Stats) *types.Stats {
	var s types.Stats
	s.Pids.Current, s.Pids.Limit = cg.PidsStats.Current, cg.PidsStats.Limit
	usage := cg.CpuStats.CpuUsage
	s.CPU.Usage.Total = usage.TotalUsage
	s.CPU.Usage.Kernel = usage.UsageInKernelmode
	s.CPU.Usage.User = usage.UsageInUsermode
	s.CPU.Usage.Percpu = usage.PercpuUsage
	s.CPU.Throttling = types.Throttling(cg.CpuStats.ThrottlingData)
	s.CPU.PSI = cg.CpuStats.PSI
	s.Memory.Cache = cg.MemoryStats.Cache
	s.Memory.Usage = entry(cg.MemoryStats.Usage)
	s.Memory.Swap = entry(cg.MemoryStats.SwapUsage)
	s.Memory.Kernel = entry(cg.MemoryStats.KernelUsage)
	s.Memory.Raw = cg.MemoryStats.Stats
	s.Memory.PSI = cg.MemoryStats.PSI
	s.Hugetlb = make(map[string]types.Hugetlb, len(cg.HugetlbStats))
	for size, h := range cg.HugetlbStats {
		s.Hugetlb[size] = types.Hugetlb{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return &s
}

func entry(m cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: m.Limit, Usage: m.Usage, Max: m.MaxUsage, Failcnt: m.Failcnt}
}
