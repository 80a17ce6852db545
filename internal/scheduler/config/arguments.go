package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	v1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// arguments has what reads each plugin's arguments.
var arguments = map[string]func([]byte, *Profile) error{
	"DefaultPreemption":               preemptionArgs,
	"InterPodAffinity":                interPodArgs,
	"NodeAffinity":                    nodeAffinityArgs,
	"NodeResourcesFit":                fitArgs,
	"NodeResourcesBalancedAllocation": balancedArgs,
	"PodTopologySpread":               spreadArgs,
	"VolumeBinding":                   volumeArgs,
}

func preemptionArgs(data []byte, out *Profile) error {
	var in v1.DefaultPreemptionArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	if p := in.MinCandidateNodesPercentage; p != nil {
		if *p < 0 || *p > 100 {
			return errors.New("minCandidateNodesPercentage must be between 0 and 100")
		}
		out.MinCandidatesPercent = int(*p)
	}
	if n := in.MinCandidateNodesAbsolute; n != nil {
		if *n < 0 {
			return errors.New("minCandidateNodesAbsolute must not be negative")
		}
		out.MinCandidatesAbsolute = int(*n)
	}
	return nil
}

func interPodArgs(data []byte, out *Profile) error {
	var in v1.InterPodAffinityArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	if w := in.HardPodAffinityWeight; w != nil {
		if *w < 0 || *w > 100 {
			return errors.New("hardPodAffinityWeight must be between 0 and 100")
		}
		out.HardAffinityWeight = int64(*w)
	}
	out.IgnorePreferencesOfOld = in.IgnorePreferredTermsOfExistingPods
	return nil
}

func nodeAffinityArgs(data []byte, out *Profile) error {
	var in v1.NodeAffinityArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	a := in.AddedAffinity
	if a == nil {
		return nil
	}
	if s := a.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
		if _, err := nodeaffinity.NewNodeSelector(s); err != nil {
			return fmt.Errorf("addedAffinity: %w", err)
		}
	}
	if _, err := nodeaffinity.NewPreferredSchedulingTerms(a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
		return fmt.Errorf("addedAffinity: %w", err)
	}
	out.AddedAffinity = a
	return nil
}

func fitArgs(data []byte, out *Profile) error {
	var in v1.NodeResourcesFitArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	out.IgnoredResources = map[corev1.ResourceName]bool{}
	for _, name := range in.IgnoredResources {
		out.IgnoredResources[corev1.ResourceName(name)] = true
	}
	out.IgnoredResourceGroups = map[string]bool{}
	for _, group := range in.IgnoredResourceGroups {
		if strings.Contains(group, "/") {
			return fmt.Errorf("ignoredResourceGroups: %q must not contain a slash", group)
		}
		out.IgnoredResourceGroups[group] = true
	}
	s := in.ScoringStrategy
	if s == nil {
		return nil
	}
	switch s.Type {
	case v1.LeastAllocated, v1.MostAllocated, v1.RequestedToCapacityRatio:
		out.Strategy = engine.Strategy(s.Type)
	case "":
	default:
		return fmt.Errorf("scoringStrategy: type %q is none of LeastAllocated, MostAllocated, RequestedToCapacityRatio", s.Type)
	}
	if len(s.Resources) > 0 {
		out.Resources = weighted(s.Resources)
	}
	if out.Strategy == engine.RequestedToCapacityRatio {
		if s.RequestedToCapacityRatio == nil {
			return errors.New("scoringStrategy: requestedToCapacityRatio needs a shape")
		}
		return shapeArgs(s.RequestedToCapacityRatio.Shape, &out.Shape)
	}
	return nil
}

func shapeArgs(shape []v1.UtilizationShapePoint, out *[]engine.Point) error {
	if len(shape) == 0 {
		return errors.New("shape must have a point")
	}
	*out = nil
	for i, p := range shape {
		if p.Utilization < 0 || p.Utilization > 100 || p.Score < 0 || p.Score > 10 {
			return fmt.Errorf("shape[%d]: utilization is from 0 to 100, score from 0 to 10", i)
		}
		if i > 0 && p.Utilization <= shape[i-1].Utilization {
			return fmt.Errorf("shape[%d]: utilization must grow", i)
		}
		*out = append(*out, engine.Point{Utilization: int64(p.Utilization), Score: int64(p.Score)})
	}
	return nil
}

func weighted(in []v1.ResourceSpec) []engine.Weighted {
	out := make([]engine.Weighted, 0, len(in))
	for _, r := range in {
		out = append(out, engine.Weighted{Name: corev1.ResourceName(r.Name), Weight: max(r.Weight, 1)})
	}
	return out
}

func balancedArgs(data []byte, out *Profile) error {
	var in v1.NodeResourcesBalancedAllocationArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	if len(in.Resources) > 0 {
		out.Balanced = weighted(in.Resources)
	}
	return nil
}

func spreadArgs(data []byte, out *Profile) error {
	var in v1.PodTopologySpreadArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	switch in.DefaultingType {
	case "", v1.SystemDefaulting:
		if len(in.DefaultConstraints) > 0 {
			return errors.New("defaultConstraints need defaultingType: List")
		}
		return nil
	case v1.ListDefaulting:
	default:
		return fmt.Errorf("defaultingType %q is neither System nor List", in.DefaultingType)
	}
	for i, c := range in.DefaultConstraints {
		switch {
		case c.LabelSelector != nil:
			return fmt.Errorf("defaultConstraints[%d]: labelSelector must be empty: it follows from services and owners", i)
		case c.MaxSkew <= 0 || c.TopologyKey == "":
			return fmt.Errorf("defaultConstraints[%d]: maxSkew and topologyKey are required", i)
		case c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway:
			return fmt.Errorf("defaultConstraints[%d]: whenUnsatisfiable is DoNotSchedule or ScheduleAnyway", i)
		}
	}
	out.DefaultSpread, out.SystemSpread = in.DefaultConstraints, false
	return nil
}

func volumeArgs(data []byte, out *Profile) error {
	var in v1.VolumeBindingArgs
	if err := yaml.UnmarshalStrict(data, &in); err != nil {
		return err
	}
	if s := in.BindTimeoutSeconds; s != nil {
		if *s < 0 {
			return errors.New("bindTimeoutSeconds must not be negative")
		}
		out.BindTimeout = time.Duration(*s) * time.Second
	}
	if len(in.Shape) > 0 {
		return shapeArgs(in.Shape, &out.VolumeShape)
	}
	return nil
}
