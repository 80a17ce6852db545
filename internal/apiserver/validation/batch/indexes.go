package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// interval is a run of indexes, both ends in it.
type interval struct{ first, last int }

// parseInterval reads "4" or "0-4"; every index is below total.
func parseInterval(text string, total int32) (interval, error) {
	number := func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("cannot convert string to integer for index: %q", s)
		}
		if n >= int(total) {
			return 0, fmt.Errorf("too large index: %q", s)
		}
		return n, nil
	}
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	first, err := number(parts[0])
	if err != nil || len(parts) == 1 {
		return interval{first, first}, err
	}
	last, err := number(parts[1])
	if err == nil && first >= last {
		err = fmt.Errorf("non-increasing order, previous: %d, current: %d", first, last)
	}
	return interval{first, last}, err
}

// indexes counts the indexes of a text such as "0-4,7", in order and below total.
func indexes(text string, total int32) (count int32, err error) {
	if text == "" {
		return 0, nil
	}
	before := -1
	for part := range strings.SplitSeq(text, ",") {
		i, err := parseInterval(part, total)
		if err != nil {
			return 0, err
		}
		if count > 0 && i.first <= before {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", before, i.first)
		}
		count += int32(i.last - i.first + 1)
		before = i.last
	}
	return count, nil
}

// overlap returns the first index that two texts share. What of them cannot be
// read is somebody else's to refuse.
func overlap(a, b string, total int32) (index int, both bool) {
	read := func(text string) []interval {
		var out []interval
		for part := range strings.SplitSeq(text, ",") {
			if i, err := parseInterval(part, total); err == nil {
				out = append(out, i)
			}
		}
		return out
	}
	x, y := read(a), read(b)
	for len(x) > 0 && len(y) > 0 {
		if x[0].first <= y[0].last && y[0].first <= x[0].last {
			return max(x[0].first, y[0].first), true
		}
		if x[0].first <= y[0].first {
			x = x[1:]
		} else {
			y = y[1:]
		}
	}
	return 0, false
}
