package probe

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// kind tells the three probes of a container apart.
type kind int

const (
	startup kind = iota
	liveness
	readiness
)

func (k kind) String() string { return [...]string{"startup", "liveness", "readiness"}[k] }

// title is the kind as events begin with it.
func (k kind) title() string { return [...]string{"Startup", "Liveness", "Readiness"}[k] }

// tally counts answers in a row: a verdict changes when there were enough of the
// other kind.
type tally struct {
	good    bool // the verdict
	row     int  // answers in a row
	rowGood bool // of this kind
}

// count takes one answer in and returns whether the verdict changed.
func (t *tally) count(ok bool, p *corev1.Probe) bool {
	if t.row == 0 || t.rowGood != ok {
		t.row, t.rowGood = 0, ok
	}
	t.row++
	enough := max(p.FailureThreshold, 1)
	if ok {
		enough = max(p.SuccessThreshold, 1)
	}
	if t.good == ok || t.row < int(enough) {
		return false
	}
	t.good = ok
	return true
}

// failing says that a bad verdict is due though the verdict was bad from the
// start, as a startup probe's is.
func (t *tally) failing(p *corev1.Probe) bool {
	return !t.rowGood && t.row >= int(max(p.FailureThreshold, 1))
}

func period(p *corev1.Probe) time.Duration {
	if p.PeriodSeconds <= 0 {
		return 10 * time.Second
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

// first is when a container that started at start is first asked.
func first(p *corev1.Probe, start time.Time) time.Time {
	return start.Add(time.Duration(p.InitialDelaySeconds) * time.Second)
}
