package horizontalpodautoscaler

import (
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// memory is what is remembered of an autoscaler. It is never changed: what
// changes it returns another.
type memory struct {
	wishes []wish   // unstabilized recommendations
	ups    []change // by how many pods the target grew
	downs  []change // by how many it shrank
}

type wish struct {
	at       time.Time
	replicas int32
}

type change struct {
	at time.Time
	by int32
}

// began remembers the size that was found first as a recommendation, so that
// nothing shrinks at once after a start.
func (m memory) began(replicas int32, now time.Time) memory {
	if m.wishes == nil {
		m.wishes = []wish{{now, replicas}}
	}
	return m
}

func (m memory) wished(replicas int32, keep time.Duration, now time.Time) memory {
	old := slices.DeleteFunc(slices.Clone(m.wishes), func(w wish) bool { return w.at.Before(now.Add(-keep)) })
	m.wishes = append(old, wish{now, replicas})
	return m
}

// remembered is how long changes count: the longest period of a policy.
const remembered = 30 * time.Minute

func (m memory) scaled(b *autoscalingv2.HorizontalPodAutoscalerBehavior, was, is int32, now time.Time) memory {
	if b == nil {
		return m // nobody looks at changes
	}
	note := func(changes []change, by int32) []change {
		old := slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return c.at.Before(now.Add(-remembered)) })
		return append(old, change{now, by})
	}
	if is > was {
		m.ups = note(m.ups, is-was)
	} else {
		m.downs = note(m.downs, was-is)
	}
	return m
}

func within(changes []change, period int32, now time.Time) int32 {
	since := now.Add(-time.Duration(period) * time.Second)
	var sum int32
	for _, c := range changes {
		if c.at.After(since) {
			sum += c.by
		}
	}
	return sum
}

const (
	// calm is how long lower recommendations must last before the target
	// shrinks, unless the autoscaler says otherwise.
	calm = 300 * time.Second
	// Without rules of its own a target doubles at most, or has four pods.
	growthFactor, growthLeast = 2, 4
)

// normalize bounds a wish by what was wished lately, by the autoscaler's rules
// and by its bounds.
func (v *verdict) normalize(hpa *autoscalingv2.HorizontalPodAutoscaler, current, wanted int32) int32 {
	if hpa.Spec.Behavior == nil {
		return v.normalizePlainly(hpa, current, wanted)
	}
	up, down := rules(hpa.Spec.Behavior)
	stable, why, message := v.stabilize(current, wanted, seconds(up.StabilizationWindowSeconds), seconds(down.StabilizationWindowSeconds))
	v.stabilized(stable != wanted, why, message)
	l := limitByRules(v.memory, hpa, up, down, current, stable, v.now)
	v.condition(autoscalingv2.ScalingLimited, l.replicas != stable, l.reason, l.message)
	return l.replicas
}

func (v *verdict) normalizePlainly(hpa *autoscalingv2.HorizontalPodAutoscaler, current, wanted int32) int32 {
	stable := wanted
	for _, w := range v.memory.wishes {
		if !w.at.Before(v.now.Add(-calm)) {
			stable = max(stable, w.replicas)
		}
	}
	v.memory = v.memory.wished(wanted, calm, v.now)
	v.stabilized(stable != wanted, "ScaleDownStabilized", recentlyHigher)
	l := limit{replicas: stable, reason: "DesiredWithinRange", message: inRange}
	highest := hpa.Spec.MaxReplicas
	tooMany := limit{highest, "TooManyReplicas", aboveMaximum}
	if fast := max(growthFactor*current, growthLeast); highest > fast {
		tooMany = limit{fast, "ScaleUpLimit", tooFastUp}
	}
	switch {
	case stable < least(hpa):
		l = limit{least(hpa), "TooFewReplicas", belowMinimum}
	case stable > tooMany.replicas:
		l = tooMany
	}
	v.condition(autoscalingv2.ScalingLimited, l.replicas != stable, l.reason, l.message)
	return l.replicas
}

// limit is how many pods there may be, and why no more or fewer.
type limit struct {
	replicas        int32
	reason, message string
}

const (
	recentlyHigher = "recent recommendations were higher than current one, applying the highest recent recommendation"
	recentlyLower  = "recent recommendations were lower than current one, applying the lowest recent recommendation"
	inRange        = "the desired count is within the acceptable range"
	aboveMaximum   = "the desired replica count is more than the maximum replica count"
	belowMinimum   = "the desired replica count is less than the minimum replica count"
	tooFastUp      = "the desired replica count is increasing faster than the maximum scale rate"
	tooFastDown    = "the desired replica count is decreasing faster than the maximum scale rate"
)

func (v *verdict) stabilized(changed bool, reason, message string) {
	if !changed {
		reason, message = "ReadyForNewScale", "recommended size matches current size"
	}
	v.condition(autoscalingv2.AbleToScale, true, reason, message)
}

// stabilize moves the target no further than all recommendations of the windows
// agree on.
func (v *verdict) stabilize(current, wanted int32, up, down time.Duration) (int32, string, string) {
	lowest, highest := wanted, wanted
	for _, w := range v.memory.wishes {
		if w.at.After(v.now.Add(-up)) {
			lowest = min(lowest, w.replicas)
		}
		if w.at.After(v.now.Add(-down)) {
			highest = max(highest, w.replicas)
		}
	}
	v.memory = v.memory.wished(wanted, max(up, down), v.now)
	stable := min(max(current, lowest), highest)
	if wanted >= current {
		return stable, "ScaleUpStabilized", recentlyLower
	}
	return stable, "ScaleDownStabilized", recentlyHigher
}

func seconds(n *int32) time.Duration { return time.Duration(*n) * time.Second }

// rules are those of the behaviour with upstream's defaults for what it leaves
// open.
func rules(b *autoscalingv2.HorizontalPodAutoscalerBehavior) (up, down autoscalingv2.HPAScalingRules) {
	if b.ScaleUp != nil {
		up = *b.ScaleUp
	}
	if b.ScaleDown != nil {
		down = *b.ScaleDown
	}
	if up.StabilizationWindowSeconds == nil {
		up.StabilizationWindowSeconds = ptr.To[int32](0)
	}
	if down.StabilizationWindowSeconds == nil {
		down.StabilizationWindowSeconds = ptr.To(int32(calm.Seconds()))
	}
	if up.Policies == nil {
		up.Policies = []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
		}
	}
	if down.Policies == nil {
		down.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
	}
	return up, down
}

func limitByRules(m memory, hpa *autoscalingv2.HorizontalPodAutoscaler, up, down autoscalingv2.HPAScalingRules, current, wanted int32, now time.Time) limit {
	switch {
	case wanted > current:
		l := limit{hpa.Spec.MaxReplicas, "TooManyReplicas", aboveMaximum}
		if fast := max(growth(m, up, current, now), current); l.replicas > fast {
			l = limit{fast, "ScaleUpLimit", tooFastUp}
		}
		if wanted > l.replicas {
			return l
		}
	case wanted < current:
		l := limit{least(hpa), "TooFewReplicas", belowMinimum}
		if fast := min(decline(m, down, current, now), current); l.replicas < fast {
			l = limit{fast, "ScaleDownLimit", tooFastDown}
		}
		if wanted < l.replicas {
			return l
		}
	}
	return limit{wanted, "DesiredWithinRange", inRange}
}

// growth is the most pods that the policies allow now.
func growth(m memory, r autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	return allowed(m, r, current, now, math.MinInt32, false, func(start int32, p autoscalingv2.HPAScalingPolicy) int32 {
		if p.Type == autoscalingv2.PodsScalingPolicy {
			return start + p.Value
		}
		// Rounded up, or one pod would stay one for ever.
		return ceil(float64(start) * (1 + float64(p.Value)/100))
	})
}

// decline is the fewest pods that the policies allow now.
func decline(m memory, r autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	return allowed(m, r, current, now, math.MaxInt32, true, func(start int32, p autoscalingv2.HPAScalingPolicy) int32 {
		if p.Type == autoscalingv2.PodsScalingPolicy {
			return start - p.Value
		}
		return int32(float64(start) * (1 - float64(p.Value)/100))
	})
}

// allowed asks every policy, from the size at the begin of its period, and
// selects the answer of the greatest change, or of the least.
func allowed(m memory, r autoscalingv2.HPAScalingRules, current int32, now time.Time, none int32, down bool, ask func(int32, autoscalingv2.HPAScalingPolicy) int32) int32 {
	least := r.SelectPolicy != nil && *r.SelectPolicy == autoscalingv2.MinChangePolicySelect
	if r.SelectPolicy != nil && *r.SelectPolicy == autoscalingv2.DisabledPolicySelect {
		return current
	}
	result, asked := none, false
	for _, p := range r.Policies {
		start := current - within(m.ups, p.PeriodSeconds, now) + within(m.downs, p.PeriodSeconds, now)
		answer := ask(start, p)
		switch {
		case !asked:
			result, asked = answer, true
		case least == down: // the higher number
			result = max(result, answer)
		default:
			result = min(result, answer)
		}
	}
	return result
}
