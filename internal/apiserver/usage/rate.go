package usage

import (
	"time"
)

const (
	// fresh is how old a sample may be to answer a question.
	fresh = time.Second
	// apart is how far two samples must lie apart to give a rate.
	apart = 900 * time.Millisecond
	// window is the span over which rates are taken if there are samples.
	window = 5 * time.Second
	// kept is how long a sample can be the older end of a window.
	kept = 20 * time.Second
	// atStart is the least age at which a container that has just begun is
	// measured from its start.
	atStart = time.Second
)

// measure is what something used over a window.
type measure struct {
	at     time.Time
	window time.Duration
	cores  float64
	memory uint64
}

// history is the samples of one node, oldest first.
type history []sample

// with returns the history with s as the newest, without what is too old.
func (h history) with(s sample) history {
	for len(h) > 0 && s.at.Sub(h[0].at) > kept {
		h = h[1:]
	}
	return append(h[:len(h):len(h)], s)
}

// newest is the last sample if it is fresh.
func (h history) newest(now time.Time) (sample, bool) {
	if len(h) == 0 || now.Sub(h[len(h)-1].at) > fresh {
		return sample{}, false
	}
	return h[len(h)-1], true
}

// settled says whether the newest sample has one before it to compare with.
func (h history) settled() bool {
	return len(h) > 1 && h[len(h)-1].at.Sub(h[0].at) >= apart
}

// node measures the node.
func (h history) node() (measure, bool) {
	return h.between(func(s *sample) (counters, bool) { return s.node, true })
}

// container measures a container by the newest sample.
func (h history) container(pod podKey, name string) (measure, bool) {
	return h.between(func(s *sample) (counters, bool) {
		c, ok := s.pods[pod][name]
		return c, ok
	})
}

// between compares the newest counters with the youngest that are a window
// older, or else with the oldest of the same run.
func (h history) between(of func(*sample) (counters, bool)) (measure, bool) {
	if len(h) == 0 {
		return measure{}, false
	}
	now, ok := of(&h[len(h)-1])
	if !ok || now.both != hasAll {
		return measure{}, false
	}
	var base counters
	found := false
	for i := len(h) - 2; i >= 0; i-- {
		was, ok := of(&h[i])
		if !ok || was.both&hasCPU == 0 || was.cpu > now.cpu || !was.started.Equal(now.started) {
			break // before this it was another
		}
		if now.at.Sub(was.at) < apart {
			continue
		}
		base, found = was, true
		if now.at.Sub(was.at) >= window {
			break
		}
	}
	if !found {
		age := now.at.Sub(now.started)
		if now.started.IsZero() || age < atStart || age > kept {
			return measure{}, false
		}
		base = counters{at: now.started}
	}
	span := now.at.Sub(base.at)
	return measure{at: now.at, window: span, cores: (now.cpu - base.cpu) / span.Seconds(), memory: now.memory}, true
}

// pod measures all containers of a pod, or none: of a part nobody could say
// what it is a part of.
func (h history) pod(key podKey) (map[string]measure, bool) {
	if len(h) == 0 {
		return nil, false
	}
	containers := h[len(h)-1].pods[key]
	out := make(map[string]measure, len(containers))
	for name := range containers {
		m, ok := h.container(key, name)
		if !ok {
			return nil, false
		}
		out[name] = m
	}
	return out, len(out) > 0
}
