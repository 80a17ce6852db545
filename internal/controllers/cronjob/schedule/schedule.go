// Package schedule reads cron expressions and finds the times that they name.
//
// It reads five fields (minute, hour, day of month, month, day of week) with
// lists, ranges, steps and names, the descriptors from @yearly to @hourly, and
// "@every" with a duration. If both days are restricted, either may match. It is
// pure: a schedule does not change and asks no clock.
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Schedule names times.
type Schedule struct {
	minute, hour, dom, month, dow uint64 // a bit for each value that matches
	anyDom, anyDow                bool   // the field was * or ?
	every                         time.Duration
	zone                          *time.Location // nil: that of the time asked about
}

// horizon is how far ahead a match is looked for: a leap day is at most eight
// years away.
const horizon = 9

type field struct {
	name     string
	min, max int
	words    []string // names of the values from min on
}

// fields returns the fields in their order.
func fields() [5]field {
	months := strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")
	days := strings.Fields("sun mon tue wed thu fri sat")
	return [5]field{
		{"minute", 0, 59, nil}, {"hour", 0, 23, nil}, {"day of month", 1, 31, nil}, {"month", 1, 12, months}, {"day of week", 0, 6, days},
	}
}

// Parse reads an expression. A zone in front of it ("TZ=Europe/Berlin …") wins
// over the zone of the times asked about.
func Parse(expression string) (*Schedule, error) {
	s := &Schedule{}
	text := strings.TrimSpace(expression)
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			name, rest, found := strings.Cut(rest, " ")
			zone, err := time.LoadLocation(name)
			if err != nil || !found {
				return nil, fmt.Errorf("schedule %q: time zone %q is not known", expression, name)
			}
			s.zone, text = zone, strings.TrimSpace(rest)
			break
		}
	}
	if strings.HasPrefix(text, "@") {
		return s.describe(expression, text)
	}
	parts := strings.Fields(text)
	if len(parts) != 5 {
		return nil, fmt.Errorf("schedule %q: has %d fields, want 5: minute, hour, day of month, month, day of week", expression, len(parts))
	}
	targets := [5]*uint64{&s.minute, &s.hour, &s.dom, &s.month, &s.dow}
	for i, f := range fields() {
		bits, err := f.parse(parts[i])
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", expression, err)
		}
		*targets[i] = bits
	}
	s.anyDom, s.anyDow = wild(parts[2]), wild(parts[4])
	return s, nil
}

func wild(part string) bool {
	for p := range strings.SplitSeq(part, ",") {
		if head, _, _ := strings.Cut(p, "/"); head == "*" || head == "?" {
			return true
		}
	}
	return false
}

func (s *Schedule) describe(expression, text string) (*Schedule, error) {
	if rest, ok := strings.CutPrefix(text, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(rest))
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", expression, err)
		}
		s.every = max(d.Truncate(time.Second), time.Second)
		return s, nil
	}
	var standard string
	switch text {
	case "@yearly", "@annually":
		standard = "0 0 1 1 *"
	case "@monthly":
		standard = "0 0 1 * *"
	case "@weekly":
		standard = "0 0 * * 0"
	case "@daily", "@midnight":
		standard = "0 0 * * *"
	case "@hourly":
		standard = "0 * * * *"
	default:
		return nil, fmt.Errorf("schedule %q: descriptor %q is not known", expression, text)
	}
	parsed, err := Parse(standard)
	if err != nil {
		return nil, err
	}
	parsed.zone = s.zone
	return parsed, nil
}

// parse reads a list of values, ranges and steps.
func (f field) parse(part string) (uint64, error) {
	var bits uint64
	for p := range strings.SplitSeq(part, ",") {
		b, err := f.parseRange(p)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", f.name, p, err)
		}
		bits |= b
	}
	return bits, nil
}

func (f field) parseRange(p string) (uint64, error) {
	head, stepText, stepped := strings.Cut(p, "/")
	first, last := f.min, f.max
	if head != "*" && head != "?" {
		from, to, isRange := strings.Cut(head, "-")
		var err error
		if first, err = f.value(from); err != nil {
			return 0, err
		}
		switch {
		case isRange:
			if last, err = f.value(to); err != nil {
				return 0, err
			}
		case !stepped: // "5/15" means from 5 on
			last = first
		}
	}
	step := 1
	if stepped {
		n, err := strconv.ParseUint(stepText, 10, 16)
		if err != nil || n == 0 {
			return 0, errors.New("step is not a positive number")
		}
		step = int(n)
	}
	if first < f.min || last > f.max || first > last {
		return 0, fmt.Errorf("is not within %d-%d", f.min, f.max)
	}
	var bits uint64
	for v := first; v <= last; v += step {
		bits |= 1 << v
	}
	return bits, nil
}

func (f field) value(s string) (int, error) {
	for i, word := range f.words {
		if strings.EqualFold(s, word) {
			return f.min + i, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("is not a number")
	}
	return int(n), nil
}

func has(bits uint64, v int) bool { return bits&(1<<v) != 0 }

// Next is the first time after t that the schedule names; the zero time if
// there is none.
func (s *Schedule) Next(t time.Time) time.Time {
	if s.every > 0 {
		return t.Add(s.every).Truncate(time.Second)
	}
	asked := t.Location()
	if s.zone != nil {
		t = t.In(s.zone)
	}
	zone := t.Location()
	limit := t.Year() + horizon
	t = t.Truncate(time.Second).Add(time.Minute - time.Duration(t.Second())*time.Second)
	for t.Year() < limit {
		switch {
		case !has(s.month, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, zone)
		case !s.day(t):
			next := time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, zone)
			if !next.After(t) { // midnight does not exist on this day
				next = next.Add(time.Hour)
			}
			t = next
		case !has(s.hour, t.Hour()):
			t = t.Add(time.Hour - time.Duration(t.Minute())*time.Minute)
		case !has(s.minute, t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t.In(asked)
		}
	}
	return time.Time{}
}

func (s *Schedule) day(t time.Time) bool {
	dom, dow := has(s.dom, t.Day()), has(s.dow, int(t.Weekday()))
	if s.anyDom || s.anyDow {
		return dom && dow
	}
	return dom || dow
}
