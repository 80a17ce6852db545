package storage

import (
	"testing"
	"time"
)

func TestOnBeat(t *testing.T) {
	second := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct{ after, d, want time.Duration }{
		{0, time.Second, time.Second},
		{0, 1240 * time.Millisecond, time.Second},
		{300 * time.Millisecond, 1100 * time.Millisecond, 700 * time.Millisecond},
		{900 * time.Millisecond, 1250 * time.Millisecond, 1100 * time.Millisecond},
		{900 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
		{400 * time.Millisecond, 10 * time.Second, 9600 * time.Millisecond},
	} {
		if got := onBeat(second.Add(test.after), test.d); got != test.want {
			t.Errorf("%s after a second, for %s: got %s, want %s", test.after, test.d, got, test.want)
		}
	}
}
