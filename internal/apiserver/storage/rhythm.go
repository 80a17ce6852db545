package storage

import (
	"time"

	"k8s.io/utils/clock"
)

// rhythm is a clock whose longer timers end at whole seconds. Every watch cache
// looks once a second whether a bookmark is due; at moments of their own they
// would wake an idle server sixty times a second, together they wake it once.
type rhythm struct{ clock.RealClock }

// beat is what long timers end at.
const beat = time.Second

func (rhythm) NewTimer(d time.Duration) clock.Timer {
	return beatTimer{time.NewTimer(onBeat(time.Now(), d))}
}

// onBeat is the time until the beat nearest to d after now. Timers shorter than
// a beat are left alone: somebody waits for them.
func onBeat(now time.Time, d time.Duration) time.Duration {
	if d < beat {
		return d
	}
	return now.Add(d).Round(beat).Sub(now)
}

type beatTimer struct{ timer *time.Timer }

func (t beatTimer) C() <-chan time.Time { return t.timer.C }

func (t beatTimer) Stop() bool { return t.timer.Stop() }

func (t beatTimer) Reset(d time.Duration) bool { return t.timer.Reset(onBeat(time.Now(), d)) }
