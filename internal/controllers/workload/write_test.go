package workload

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestSlowStart(t *testing.T) {
	for _, n := range []int{0, 1, 3, 63, 64, 127, 128, 1000} {
		var calls atomic.Int64
		done, err := SlowStart(n, func() error { calls.Add(1); return nil })
		if done != n || err != nil || calls.Load() != int64(n) {
			t.Errorf("%d calls wanted: %d made, %d told, err %v", n, calls.Load(), done, err)
		}
	}
}

func TestSlowStartStopsAtAnError(t *testing.T) {
	wrong := errors.New("wrong")
	for _, tt := range []struct{ failAt, most int64 }{{1, 1}, {2, 3}, {200, 200 + widest}} {
		var calls atomic.Int64
		done, err := SlowStart(1000, func() error {
			if calls.Add(1) >= tt.failAt {
				return wrong
			}
			return nil
		})
		if !errors.Is(err, wrong) || calls.Load() > tt.most || int64(done) != tt.failAt-1 {
			t.Errorf("failing from call %d on: %d calls, %d told, err %v", tt.failAt, calls.Load(), done, err)
		}
	}
}

func TestPace(t *testing.T) {
	p, now := NewPace(), time.Unix(0, 0)
	few, crowd := types.NamespacedName{Name: "few"}, types.NamespacedName{Name: "crowd"}
	p.Looked(few, many-1, now)
	p.Looked(crowd, 10000, now)
	if got := p.Wait(few, now); got != 0 {
		t.Errorf("an owner of few waits %s", got)
	}
	if got := p.Wait(crowd, now); got != 10000*rest {
		t.Errorf("an owner of 10,000 waits %s, want %s", got, 10000*rest)
	}
	if got := p.Wait(crowd, now.Add(time.Minute)); got != 0 {
		t.Errorf("a minute later it still waits %s", got)
	}
	p.Looked(crowd, 1, now)
	if got := p.Wait(crowd, now); got != 0 {
		t.Errorf("scaled down it waits %s", got)
	}
}
