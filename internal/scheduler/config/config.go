package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Config is how pods are to be scheduled.
type Config struct {
	Profiles []Profile
	// InitialBackoff and MaxBackoff bound the pause before another try.
	InitialBackoff, MaxBackoff time.Duration
}

// Profile is how the pods of one schedulerName are scheduled.
type Profile struct {
	*engine.Profile
	// BindTimeout is how long a pod's volumes may take to be bound.
	BindTimeout time.Duration
	// NoPreemption: pods of this profile never evict others.
	NoPreemption bool
}

const defaultBindTimeout = 600 * time.Second

// Default returns kube-scheduler's defaults.
func Default() Config {
	return Config{
		Profiles:       []Profile{defaultProfile()},
		InitialBackoff: time.Second, MaxBackoff: 10 * time.Second,
	}
}

func defaultProfile() Profile {
	return Profile{Profile: engine.DefaultProfile(), BindTimeout: defaultBindTimeout}
}

const (
	apiVersion = "kubescheduler.config.k8s.io/v1"
	kind       = "KubeSchedulerConfiguration"
)

// Parse reads a KubeSchedulerConfiguration in YAML or JSON.
func Parse(data []byte) (Config, error) {
	var in v1.KubeSchedulerConfiguration
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return Config{}, fmt.Errorf("read the scheduler's configuration: %w", err)
	}
	if in.APIVersion != apiVersion || in.Kind != kind {
		return Config{}, fmt.Errorf("the scheduler's configuration is %s %s; write apiVersion: %s, kind: %s", in.APIVersion, in.Kind, apiVersion, kind)
	}
	if len(in.Extenders) > 0 {
		return Config{}, errors.New("extenders are not supported: remove them from the scheduler's configuration, or run kube-scheduler beside with --disable=scheduler")
	}
	out := Default()
	if s := in.PodInitialBackoffSeconds; s != nil {
		out.InitialBackoff = time.Duration(*s) * time.Second
	}
	if s := in.PodMaxBackoffSeconds; s != nil {
		out.MaxBackoff = time.Duration(*s) * time.Second
	}
	if out.InitialBackoff <= 0 || out.MaxBackoff < out.InitialBackoff {
		return Config{}, errors.New("podInitialBackoffSeconds must be positive and podMaxBackoffSeconds no less")
	}
	if len(in.Profiles) == 0 {
		return out, nil
	}
	out.Profiles = nil
	for i := range in.Profiles {
		p, err := profile(&in.Profiles[i])
		if err != nil {
			return Config{}, fmt.Errorf("profiles[%d]: %w", i, err)
		}
		if slices.ContainsFunc(out.Profiles, func(q Profile) bool { return q.Name == p.Name }) {
			return Config{}, fmt.Errorf("profiles[%d]: schedulerName %q is used twice", i, p.Name)
		}
		out.Profiles = append(out.Profiles, p)
	}
	return out, nil
}

func profile(in *v1.KubeSchedulerProfile) (Profile, error) {
	out := defaultProfile()
	switch {
	case in.SchedulerName != nil && *in.SchedulerName != "":
		out.Name = *in.SchedulerName
	default:
		out.Name = corev1.DefaultSchedulerName
	}
	if in.Plugins != nil {
		if err := plugins(in.Plugins, &out); err != nil {
			return out, err
		}
	}
	for i := range in.PluginConfig {
		pc := &in.PluginConfig[i]
		read := arguments[pc.Name]
		if read == nil {
			return out, fmt.Errorf("pluginConfig: %q takes no arguments here", pc.Name)
		}
		if err := read(pc.Args.Raw, &out); err != nil {
			return out, fmt.Errorf("pluginConfig of %s: %w", pc.Name, err)
		}
	}
	return out, nil
}

// What each plugin does here; a plugin may filter, score or both.
var (
	filters = []engine.Rule{
		engine.RuleUnschedulable, engine.RuleNodeName, engine.RuleTaints, engine.RuleNodeAffinity, engine.RulePorts,
		engine.RuleResources, engine.RuleVolumeSharing, engine.RuleVolumeLimits, engine.RuleVolumeBinding,
		engine.RuleVolumeZone, engine.RuleSpread, engine.RuleInterPod, engine.RuleDevices,
		engine.RuleFeatures,
	}
	scores = []engine.Rule{
		engine.RuleTaints, engine.RuleNodeAffinity, engine.RuleSpread, engine.RuleInterPod,
		engine.RuleResources, engine.RuleBalanced, engine.RuleImages, engine.RuleVolumeBinding, engine.RuleDevices,
	}
	// Parts that are always there, and may be named where they belong.
	fixed = []engine.Rule{engine.RuleSchedulingGates, "PrioritySort", "DefaultBinder"}
)

func known(name string) bool {
	r := engine.Rule(name)
	return name == "*" || r == engine.RulePreemption || slices.Contains(filters, r) || slices.Contains(scores, r) || slices.Contains(fixed, r)
}

// plugins switches plugins off and on. As in kube-scheduler multiPoint speaks of
// every extension point that a plugin has, and the single ones win over it.
func plugins(in *v1.Plugins, out *Profile) error {
	out.Off = map[engine.Rule]bool{}
	for _, x := range []struct {
		set                     v1.PluginSet
		filter, score, preempts bool
	}{
		{in.MultiPoint, true, true, true},
		{in.PreFilter, true, false, false},
		{in.Filter, true, false, false},
		{in.PostFilter, false, false, true},
		{in.PreScore, false, true, false},
		{in.Score, false, true, false},
		{in.PreEnqueue, false, false, false},
		{in.QueueSort, false, false, false},
		{in.Reserve, false, false, false},
		{in.PreBind, false, false, false},
		{in.Bind, false, false, false},
	} {
		for _, p := range x.set.Disabled {
			if !known(p.Name) {
				continue // what is not there is off
			}
			switchOff(engine.Rule(p.Name), x.filter, x.score, x.preempts, out)
		}
		for _, p := range x.set.Enabled {
			if !known(p.Name) || p.Name == "*" {
				return fmt.Errorf("plugin %q is not part of Sinawi's scheduler", p.Name)
			}
			switchOn(p, x.filter, x.score, x.preempts, out)
		}
	}
	for _, set := range []v1.PluginSet{in.Permit, in.PostBind} {
		for _, p := range set.Enabled {
			return fmt.Errorf("plugin %q: permit and postBind plugins are not supported", p.Name)
		}
	}
	return nil
}

func switchOff(name engine.Rule, filter, score, preempts bool, out *Profile) {
	all := name == "*"
	if filter {
		for _, r := range filters {
			if all || r == name {
				out.Off[r] = true
			}
		}
	}
	if score {
		for _, r := range scores {
			if all || r == name {
				delete(out.Weights, r)
			}
		}
	}
	if preempts && (all || name == engine.RulePreemption) {
		out.NoPreemption = true
	}
}

func switchOn(p v1.Plugin, filter, score, preempts bool, out *Profile) {
	r := engine.Rule(p.Name)
	if filter {
		delete(out.Off, r)
	}
	if score && slices.Contains(scores, r) {
		weight, ok := engine.DefaultProfile().Weights[r]
		if p.Weight != nil && *p.Weight > 0 {
			weight = int64(*p.Weight)
		} else if !ok {
			weight = 1
		}
		out.Weights[r] = weight
	}
	if preempts && r == engine.RulePreemption {
		out.NoPreemption = false
	}
}
