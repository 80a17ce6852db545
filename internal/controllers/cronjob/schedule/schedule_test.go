package schedule

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	const layout = "2006-01-02 15:04:05 MST"
	for _, tt := range []struct{ expression, zone, from, want string }{
		{"*/15 * * * *", "UTC", "2026-03-01 10:07:30", "2026-03-01 10:15:00 UTC"},
		{"0 * * * *", "UTC", "2026-03-01 10:00:00", "2026-03-01 11:00:00 UTC"},
		{"5/20 3 * * *", "UTC", "2026-03-01 03:26:00", "2026-03-01 03:45:00 UTC"},
		{"30 4 1,15 * 5", "UTC", "2026-03-02 00:00:00", "2026-03-06 04:30:00 UTC"},
		{"30 4 1,15 * *", "UTC", "2026-03-02 00:00:00", "2026-03-15 04:30:00 UTC"},
		{"0 0 29 feb *", "UTC", "2026-03-01 00:00:00", "2028-02-29 00:00:00 UTC"},
		{"0 0 ? * mon-fri", "UTC", "2026-03-06 12:00:00", "2026-03-09 00:00:00 UTC"},
		{"0 0 30 2 *", "UTC", "2026-03-01 00:00:00", ""},
		{"@hourly", "UTC", "2026-12-31 23:30:00", "2027-01-01 00:00:00 UTC"},
		{"@weekly", "UTC", "2026-03-02 00:00:00", "2026-03-08 00:00:00 UTC"},
		{"@every 1h30m", "UTC", "2026-03-01 10:00:10", "2026-03-01 11:30:10 UTC"},
		{"0 9 * * *", "America/New_York", "2026-03-07 10:00:00", "2026-03-08 09:00:00 EDT"},
		// An hour that summer time leaves out is skipped, one that comes twice counts once each.
		{"30 2 * * *", "America/New_York", "2026-03-08 00:00:00", "2026-03-09 02:30:00 EDT"},
		{"TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-03-01 00:30:00", "2026-03-02 00:00:00 UTC"},
	} {
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Skipf("no time zones here: %v", err)
		}
		from, err := time.ParseInLocation("2006-01-02 15:04:05", tt.from, zone)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(tt.expression)
		if err != nil {
			t.Errorf("%s: %v", tt.expression, err)
			continue
		}
		got := ""
		if next := s.Next(from); !next.IsZero() {
			got = next.Format(layout)
		}
		if got != tt.want {
			t.Errorf("%s after %s: %s, want %s", tt.expression, tt.from, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7",
		"5-1 * * * *", "*/0 * * * *", "a * * * *", "@often", "@every x", "TZ=Nowhere/Town * * * * *", "TZ=UTC", "-1 * * * *", "1- * * * *",
	} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%q is read", s)
		}
	}
}

// FuzzNext holds the search against a naive one, minute by minute.
func FuzzNext(f *testing.F) {
	f.Add("*/7 3-5 1,15 * 1", int64(1_800_000_000))
	f.Add("@daily", int64(0))
	f.Fuzz(func(t *testing.T, expression string, unix int64) {
		s, err := Parse(expression)
		if err != nil || s.every > 0 || s.zone != nil || unix < 0 || unix > 4e9 {
			return
		}
		from := time.Unix(unix, 0).UTC()
		got := s.Next(from)
		at := from.Truncate(time.Minute).Add(time.Minute)
		for range 3 * 24 * 60 {
			if has(s.minute, at.Minute()) && has(s.hour, at.Hour()) && has(s.month, int(at.Month())) && s.day(at) {
				if !got.Equal(at) {
					t.Fatalf("%q after %v: %v, want %v", expression, from, got, at)
				}
				return
			}
			at = at.Add(time.Minute)
		}
		if !got.IsZero() && got.Before(at) {
			t.Fatalf("%q after %v: %v does not match", expression, from, got)
		}
	})
}
