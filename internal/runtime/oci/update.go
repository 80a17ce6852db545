package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// update changes the resource limits of a running container.
func update(inv invocation) error {
	flags := newFlags(inv.name)
	path := flags.String("resources", "-", "")
	container, err := inv.load(flags)
	if err != nil {
		return err
	}
	var data []byte
	if *path == "-" {
		data, err = io.ReadAll(inv.in)
	} else {
		data, err = os.ReadFile(*path)
	}
	if err != nil {
		return fmt.Errorf("read resources: %w", err)
	}
	change, err := parseResources(data)
	if err != nil {
		return err
	}
	config := container.Config()
	apply(config.Cgroups.Resources, change)
	// Devices may have been allowed behind our back (a device plugin's); leave them.
	config.Cgroups.SkipDevices = true
	return container.Set(config)
}

func parseResources(data []byte) (*specs.LinuxResources, error) {
	var r specs.LinuxResources
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("parse resources: %w", err)
	}
	return &r, nil
}

// apply lays change over r. What change leaves out keeps its value, except for what
// libcontainer itself treats as "no change" when empty.
func apply(r *cgroups.Resources, change *specs.LinuxResources) {
	if cpu := change.CPU; cpu != nil {
		applyCPU(r, cpu)
	}
	if memory := change.Memory; memory != nil {
		set(&r.Memory, memory.Limit)
		set(&r.MemoryReservation, memory.Reservation)
		set(&r.MemorySwap, memory.Swap)
		set(&r.MemoryCheckBeforeUpdate, memory.CheckBeforeUpdate)
		if memory.Limit != nil && *memory.Limit == -1 && memory.Swap == nil {
			// A swap limit cannot stand without a memory limit.
			r.MemorySwap = 0
		}
	}
	if change.Pids != nil {
		r.PidsLimit = change.Pids.Limit
	}
	if block := change.BlockIO; block != nil {
		set(&r.BlkioWeight, block.Weight)
		set(&r.BlkioLeafWeight, block.LeafWeight)
	}
	for _, huge := range change.HugepageLimits {
		r.HugetlbLimit = setHuge(r.HugetlbLimit, huge)
	}
	r.Unified = change.Unified
}

func applyCPU(r *cgroups.Resources, cpu *specs.LinuxCPU) {
	// Quota and period are written together: one alone keeps the other's value.
	set(&r.CpuPeriod, cpu.Period)
	set(&r.CpuQuota, cpu.Quota)
	r.CpuBurst = cpu.Burst
	r.CPUIdle = cpu.Idle
	if shares := cpu.Shares; shares != nil {
		r.CpuShares = *shares
		r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*shares)
	}
	set(&r.CpuRtPeriod, cpu.RealtimePeriod)
	set(&r.CpuRtRuntime, cpu.RealtimeRuntime)
	r.CpusetCpus = cpu.Cpus
	r.CpusetMems = cpu.Mems
}

func setHuge(limits []*cgroups.HugepageLimit, h specs.LinuxHugepageLimit) []*cgroups.HugepageLimit {
	for _, l := range limits {
		if l.Pagesize == h.Pagesize {
			l.Limit = h.Limit
			return limits
		}
	}
	return append(limits, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
