package job

import (
	"slices"
	"strconv"
	"strings"
)

// indexes is a set of completion indexes, written as "1,3-5,7". The intervals
// are sorted and do not touch.
type indexes []interval

type interval struct{ first, last int }

// parseIndexes reads a set, leaving out what is not below limit or no number.
func parseIndexes(s string, limit int) indexes {
	var out indexes
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil || first < 0 || first >= limit {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil || last < first {
				continue
			}
			last = min(last, limit-1)
		}
		out = append(out, interval{first, last})
	}
	return out.normal()
}

// with returns the set with more members.
func (x indexes) with(members ...int) indexes {
	out := slices.Clone(x)
	for _, m := range members {
		out = append(out, interval{m, m})
	}
	return out.normal()
}

func (x indexes) normal() indexes {
	slices.SortFunc(x, func(a, b interval) int { return a.first - b.first })
	var out indexes
	for _, i := range x {
		if n := len(out); n > 0 && i.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, i.last)
			continue
		}
		out = append(out, i)
	}
	return out
}

func (x indexes) has(n int) bool {
	at, found := slices.BinarySearchFunc(x, n, func(i interval, n int) int {
		switch {
		case i.last < n:
			return -1
		case i.first > n:
			return 1
		default:
			return 0
		}
	})
	return found && at < len(x)
}

func (x indexes) total() int32 {
	total := 0
	for _, i := range x {
		total += i.last - i.first + 1
	}
	return int32(total)
}

func (x indexes) String() string {
	var b strings.Builder
	for _, i := range x {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(i.first))
		switch {
		case i.last == i.first+1:
			b.WriteString("," + strconv.Itoa(i.last))
		case i.last > i.first:
			b.WriteString("-" + strconv.Itoa(i.last))
		}
	}
	return b.String()
}
