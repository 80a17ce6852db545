// Package cgroup keeps the control groups of a node's pods: a group for each class
// of service below the instance's own, and in it one for each pod, limited by what
// its containers ask for together.
//
//	PARENT ─┬─ podUID               guaranteed
//	        ├─ burstable ── podUID
//	        └─ besteffort ── podUID
//
// It works on both versions of the kernel's interface. Containers' groups below a
// pod's are the runtime's. It never touches a group outside PARENT, and it never
// puts a process into one.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/sinawi/sinawi/internal/agent/spec"
)

const podPrefix = "pod"

// Groups are the control groups below one parent.
type Groups struct {
	parent string

	mu        sync.Mutex // guards the fields below
	classes   map[corev1.PodQOSClass]bool
	burstable map[types.UID]int64 // requested milli-CPUs
}

// New returns the groups below parent, as "/sinawi". It makes nothing yet.
func New(parent string) *Groups {
	return &Groups{parent: path.Clean("/" + parent), classes: map[corev1.PodQOSClass]bool{}, burstable: map[types.UID]int64{}}
}

// Unified says whether the machine has cgroup v2 alone.
func Unified() bool { return cgroups.IsCgroup2UnifiedMode() }

func (g *Groups) class(class corev1.PodQOSClass) string {
	switch class {
	case corev1.PodQOSBurstable:
		return path.Join(g.parent, "burstable")
	case corev1.PodQOSBestEffort:
		return path.Join(g.parent, "besteffort")
	}
	return g.parent
}

// Path is the group of a pod.
func (g *Groups) Path(pod *corev1.Pod) string {
	return path.Join(g.class(spec.QOS(pod)), podPrefix+string(pod.UID))
}

// Ensure makes the pod's group, or brings its limits up to date.
func (g *Groups) Ensure(pod *corev1.Pod) error {
	if err := g.ensureClass(pod); err != nil {
		return err
	}
	if err := apply(g.Path(pod), limits(pod)); err != nil {
		return fmt.Errorf("make cgroup of pod: %w", err)
	}
	return nil
}

// ensureClass makes the group of the pod's class and counts the pod in.
func (g *Groups) ensureClass(pod *corev1.Pod) error {
	class := spec.QOS(pod)
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &cgroups.Resources{SkipDevices: true}
	switch class {
	case corev1.PodQOSBurstable:
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		milli := requests.Cpu().MilliValue()
		if known, ok := g.burstable[pod.UID]; ok && known == milli {
			return nil
		}
		g.burstable[pod.UID] = milli
		g.shareOfBurstable(r)
	case corev1.PodQOSBestEffort:
		if g.classes[class] {
			return nil
		}
		shares(r, spec.Shares(0))
	default:
		if g.classes[class] {
			return nil
		}
	}
	if err := apply(g.class(class), r); err != nil {
		return fmt.Errorf("make cgroup of class %s: %w", class, err)
	}
	g.classes[class] = true
	return nil
}

func (g *Groups) shareOfBurstable(r *cgroups.Resources) {
	var sum int64
	for _, milli := range g.burstable {
		sum += milli
	}
	shares(r, spec.Shares(sum))
}

// Remove removes the pod's group, whatever its class; none is no error.
func (g *Groups) Remove(uid types.UID) error {
	g.mu.Lock()
	if _, ok := g.burstable[uid]; ok {
		delete(g.burstable, uid)
		r := &cgroups.Resources{SkipDevices: true}
		g.shareOfBurstable(r)
		// What is left over gives too much to the class until its next pod comes.
		_ = apply(g.class(corev1.PodQOSBurstable), r)
	}
	g.mu.Unlock()
	var problems []error
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		name := path.Join(g.class(class), podPrefix+string(uid))
		if !exists(name) {
			continue
		}
		m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: &cgroups.Resources{SkipDevices: true}})
		if err == nil {
			err = m.Destroy()
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("remove cgroup %s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// Pods lists the pods that have a group.
func (g *Groups) Pods() ([]types.UID, error) {
	var uids []types.UID
	for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
		entries, err := os.ReadDir(directory(g.class(class)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for _, entry := range entries {
			if uid, ok := strings.CutPrefix(entry.Name(), podPrefix); ok && entry.IsDir() {
				uids = append(uids, types.UID(uid))
			}
		}
	}
	return uids, nil
}

// directory is where a group shows in one hierarchy that is always there.
func directory(name string) string {
	if Unified() {
		return filepath.Join("/sys/fs/cgroup", name)
	}
	return filepath.Join("/sys/fs/cgroup/memory", name)
}

func exists(name string) bool {
	_, err := os.Stat(directory(name))
	return err == nil
}

func apply(name string, r *cgroups.Resources) error {
	m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: r})
	if err != nil {
		return err
	}
	if err := m.Apply(-1); err != nil {
		return err
	}
	return m.Set(r)
}

func shares(r *cgroups.Resources, value int64) {
	if Unified() {
		r.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(uint64(value))
		return
	}
	r.CpuShares = uint64(value)
}

// limits are what all containers of a pod may use together. A limit holds for the
// pod only if every container has one.
func limits(pod *corev1.Pod) *cgroups.Resources {
	r := &cgroups.Resources{SkipDevices: true}
	if spec.QOS(pod) == corev1.PodQOSBestEffort {
		shares(r, spec.Shares(0))
		return r
	}
	cpuLimited, memoryLimited := limited(pod, corev1.ResourceCPU), limited(pod, corev1.ResourceMemory)
	most := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	least := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	milli := least.Cpu().MilliValue()
	if _, ok := least[corev1.ResourceCPU]; !ok {
		milli = most.Cpu().MilliValue()
	}
	shares(r, spec.Shares(milli))
	r.CpuQuota, r.Memory = -1, -1 // a limit that there was may have gone
	if cpuLimited {
		quota, period := spec.Quota(most.Cpu().MilliValue())
		r.CpuQuota, r.CpuPeriod = quota, uint64(period)
	}
	if memoryLimited {
		r.Memory = most.Memory().Value()
	}
	return r
}

// limited says whether the pod, or each of its containers, has a limit.
func limited(pod *corev1.Pod, name corev1.ResourceName) bool {
	if pod.Spec.Resources != nil {
		if _, ok := pod.Spec.Resources.Limits[name]; ok {
			return true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if quantity := list[i].Resources.Limits[name]; quantity.IsZero() {
				return false
			}
		}
	}
	return true
}
