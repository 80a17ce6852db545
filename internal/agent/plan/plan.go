// Package plan decides what has to be done to a pod on its node: a pure function
// of the pod's spec, what the runtime holds of it, what its probes say, the
// memory of earlier starts and the time. It owns the order of sandbox, init
// containers, sidecars and containers, restart policies and the back-off between
// restarts.
//
// A decision is made anew after each round of actions, until there is nothing
// more to do: a crash between two actions is only another starting point.
package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
)

// Back-off between restarts of a container.
const (
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
	// A container that ran this long starts its back-off anew.
	backoffReset = 2 * backoffMax
)

// Health is what the probes of a running container say.
type Health struct {
	// Started: the startup probe succeeded, or there is none.
	Started bool
	// Ready: the readiness probe succeeds, or there is none.
	Ready bool
	// Failed is why the container must be restarted: "" if it need not.
	Failed string
}

// Backoff is how long a container waits before its next restart.
type Backoff struct {
	Delay time.Duration
	Since time.Time
}

// Memory is what is remembered of a pod between decisions; losing it costs no
// more than a restart that comes early.
type Memory struct {
	Backoffs map[string]Backoff // by container name
}

// Input is a moment of a pod.
type Input struct {
	Pod    *corev1.Pod
	State  *observed.Pod
	Health map[string]Health // by container ID
	Memory Memory
	Now    time.Time
}

// Kind tells the three lists of containers of a pod apart.
type Kind int

// The kinds of containers.
const (
	Main Kind = iota
	Init
	Ephemeral
)

// Start is a container to start.
type Start struct {
	Kind      Kind
	Container *corev1.Container
	// Attempt counts the starts of this container, from 0.
	Attempt int
	// Backoff to remember when this start is made.
	Backoff *Backoff
}

// Stop is a running container to stop.
type Stop struct {
	Container observed.Container
	Message   string
	// Reason is "" or kubelet's word for the probe that failed.
	Reason string
}

// Wait is a container that may not start yet.
type Wait struct {
	Reason, Message string
	Until           time.Time
}

// Actions is a decision.
type Actions struct {
	// StopPod: stop every container and the sandbox.
	StopPod bool
	// CreateSandbox with Attempt, after StopPod.
	CreateSandbox bool
	Attempt       uint32
	Stops         []Stop
	Starts        []Start
	// Waits by container name.
	Waits map[string]Wait
	// Remove are dead containers and sandboxes that nothing needs any more.
	RemoveContainers, RemoveSandboxes []string
	// Wake is when to decide again though nothing happened; zero is never.
	Wake time.Time
}

// Nothing says whether there is nothing to do now.
func (a *Actions) Nothing() bool {
	return !a.StopPod && !a.CreateSandbox && len(a.Stops)+len(a.Starts) == 0
}

// Decide returns what has to be done now.
func Decide(in Input) Actions {
	d := &decision{Input: in, Actions: Actions{Waits: map[string]Wait{}}}
	d.garbage()
	if d.needsSandbox() {
		d.newSandbox()
		return d.Actions
	}
	d.ephemeral()
	if d.init() {
		d.main()
	}
	return d.Actions
}

type decision struct {
	Input
	Actions
}

// Terminal says whether a pod whose containers are as in state will never run again.
func Terminal(pod *corev1.Pod, state *observed.Pod) bool {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return false
	}
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			last := state.Latest(c.Name)
			if !Sidecar(c) && last != nil && last.State == observed.Exited && last.ExitCode != 0 && !restarts(pod, c, last) {
				return true
			}
		}
	}
	for i := range pod.Spec.Containers {
		last := state.Latest(pod.Spec.Containers[i].Name)
		if last == nil || last.State != observed.Exited || restarts(pod, &pod.Spec.Containers[i], last) {
			return false
		}
	}
	return true
}

func (d *decision) needsSandbox() bool {
	box := d.State.Sandbox()
	return box == nil || !box.Ready || box.HostNetwork != d.Pod.Spec.HostNetwork || !box.HostNetwork && len(box.IPs) == 0
}

// newSandbox decides for a pod without a usable sandbox.
func (d *decision) newSandbox() {
	box := d.State.Sandbox()
	d.StopPod = box != nil && (box.Ready || d.State.Running())
	if box != nil {
		d.Attempt = box.Attempt + 1
		if len(d.State.Containers) > 0 && !d.anythingToRun() {
			return
		}
	}
	d.CreateSandbox = true
}

// anythingToRun says whether a lost sandbox is worth replacing.
func (d *decision) anythingToRun() bool {
	if d.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		return false
	}
	for i := range d.Pod.Spec.Containers {
		c := &d.Pod.Spec.Containers[i]
		if last := d.State.Latest(c.Name); last == nil || restarts(d.Pod, c, last) {
			return true
		}
	}
	return false
}

// current returns a container's newest instance in the sandbox that is in use.
func (d *decision) current(name string) *observed.Container {
	last := d.State.Latest(name)
	if last == nil || last.SandboxID != d.State.Sandbox().ID {
		return nil
	}
	return last
}

// init runs init containers and sidecars in order; it answers whether the
// pod's main containers may run.
func (d *decision) init() bool {
	initialized := false
	for i := range d.Pod.Spec.Containers {
		if d.current(d.Pod.Spec.Containers[i].Name) != nil {
			initialized = true
		}
	}
	for i := range d.Pod.Spec.InitContainers {
		c := &d.Pod.Spec.InitContainers[i]
		last := d.current(c.Name)
		if Sidecar(c) {
			if started := d.sidecar(c, last); !started && !initialized {
				return false
			}
			continue
		}
		if initialized {
			continue
		}
		switch {
		case last == nil || last.State == observed.Created:
			d.start(Init, c)
			return false
		case last.State == observed.Running:
			return false
		case last.State == observed.Exited && last.ExitCode == 0:
		case !restarts(d.Pod, c, last):
			d.StopPod = d.live()
			return false
		default:
			d.start(Init, c)
			return false
		}
	}
	return true
}

// sidecar keeps a sidecar running unless the pod's work is done.
func (d *decision) sidecar(c *corev1.Container, last *observed.Container) (started bool) {
	if Terminal(d.Pod, d.State) {
		return true
	}
	if last == nil || last.State != observed.Running {
		d.start(Init, c)
		return false
	}
	health := d.Health[last.ID]
	if health.Failed != "" {
		d.Stops = append(d.Stops, unhealthy(*last, health.Failed))
		return false
	}
	return health.Started
}

func (d *decision) main() {
	keep := 0
	for i := range d.Pod.Spec.Containers {
		c := &d.Pod.Spec.Containers[i]
		last := d.State.Latest(c.Name)
		if last == nil || last.State != observed.Running {
			if last == nil || restarts(d.Pod, c, last) {
				d.start(Main, c)
				keep++
			}
			continue
		}
		keep++
		switch failed := d.Health[last.ID].Failed; {
		case last.Hash != "" && last.Hash != Hash(c):
			d.Stops = append(d.Stops, Stop{Container: *last, Message: fmt.Sprintf("Container %s definition changed", c.Name)})
		case failed != "":
			d.Stops = append(d.Stops, unhealthy(*last, failed))
		}
	}
	if keep == 0 {
		d.StopPod = d.live()
	}
}

// live says whether anything of the pod is left to stop.
func (d *decision) live() bool {
	box := d.State.Sandbox()
	return box != nil && box.Ready || d.State.Running()
}

func unhealthy(c observed.Container, probe string) Stop {
	return Stop{Container: c, Reason: probe, Message: fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, probe)}
}

// ephemeral starts each ephemeral container once.
func (d *decision) ephemeral() {
	for i := range d.Pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&d.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if d.State.Latest(c.Name) == nil {
			d.Starts = append(d.Starts, Start{Kind: Ephemeral, Container: c})
		}
	}
}

// start adds a container to start, or to wait for its back-off.
func (d *decision) start(kind Kind, c *corev1.Container) {
	s := Start{Kind: kind, Container: c}
	last := d.State.Latest(c.Name)
	if last == nil {
		d.Starts = append(d.Starts, s)
		return
	}
	s.Attempt = last.RestartCount + 1
	if last.State != observed.Exited || last.Finished.IsZero() {
		d.Starts = append(d.Starts, s)
		return
	}
	known, ok := d.Memory.Backoffs[c.Name]
	if ok && last.Finished.Sub(known.Since) > backoffReset {
		ok = false
	}
	if until := last.Finished.Add(known.Delay); ok && d.Now.Before(until) {
		d.Waits[c.Name] = Wait{
			Reason: "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				known.Delay, c.Name, d.Pod.Name, d.Pod.Namespace, d.Pod.UID),
			Until: until,
		}
		d.wake(until)
		return
	}
	next := Backoff{Delay: backoffFirst, Since: d.Now}
	if ok {
		next.Delay = min(2*known.Delay, backoffMax)
	}
	s.Backoff = &next
	d.Starts = append(d.Starts, s)
}

func (d *decision) wake(at time.Time) {
	if d.Wake.IsZero() || at.Before(d.Wake) {
		d.Wake = at
	}
}

// garbage finds dead instances that are not the newest of their container, and
// dead sandboxes that are not the newest and hold no container worth keeping.
func (d *decision) garbage() {
	dead := map[string]int{}
	kept := map[string]bool{}
	for i := range d.State.Containers {
		c := &d.State.Containers[i]
		if c.State == observed.Exited || c.State == observed.Unknown {
			if dead[c.Name]++; dead[c.Name] > 1 {
				d.RemoveContainers = append(d.RemoveContainers, c.ID)
				continue
			}
		}
		kept[c.SandboxID] = true
	}
	for i, box := range d.State.Sandboxes {
		if i > 0 && !box.Ready && !kept[box.ID] {
			d.RemoveSandboxes = append(d.RemoveSandboxes, box.ID)
		}
	}
}

// restarts says whether a container that is not running shall run again.
func restarts(pod *corev1.Pod, c *corev1.Container, last *observed.Container) bool {
	if last.State != observed.Exited {
		return true
	}
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil || !matches(rule.ExitCodes, last.ExitCode) {
			continue
		}
		return rule.Action == corev1.ContainerRestartRuleActionRestart
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch cmp.Or(policy, corev1.RestartPolicyAlways) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return last.ExitCode != 0
	}
	return true
}

func matches(rule *corev1.ContainerRestartRuleOnExitCodes, code int32) bool {
	in := false
	for _, value := range rule.Values {
		in = in || value == code
	}
	return in == (rule.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}

// Restarts says whether a container of pod that is as in last shall run again.
func Restarts(pod *corev1.Pod, c *corev1.Container, last *observed.Container) bool {
	return restarts(pod, c, last)
}

// Sidecar says whether an init container runs beside the main ones.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Hash changes when a running container no longer is what its spec says: of all
// that may change in a pod's life, only the image asks for a restart.
func Hash(c *corev1.Container) string {
	picked, err := json.Marshal(map[string]string{"image": c.Image, "name": c.Name})
	if err != nil {
		panic(err) // strings always marshal
	}
	hash := fnv.New32a()
	hash.Write(picked)
	return strconv.FormatUint(uint64(hash.Sum32()), 16)
}
