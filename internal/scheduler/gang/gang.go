// Package gang places pods that are of use only together. It is pure: it decides
// by trying on a Board, and puts back what it tried when the whole does not fit.
package gang

// Board is where pods are tried, by their index.
type Board interface {
	// Put places pod i, as all that was put before it leaves room, and reports
	// whether there was a place. It changes nothing when there was none.
	Put(i int) bool
	// Take takes pod i back.
	Take(i int)
}

// Place puts pods 0 to n-1 on the board, as many as have a place. When these are
// fewer than need it takes all of them back and returns none. failed is the first
// pod that has no place, or -1.
func Place(b Board, n, need int) (placed []int, failed int) {
	failed = -1
	for i := range n {
		if len(placed)+n-i < need {
			break // it cannot be enough any more
		}
		if b.Put(i) {
			placed = append(placed, i)
		} else if failed < 0 {
			failed = i
		}
	}
	if len(placed) >= need {
		return placed, failed
	}
	for k := len(placed) - 1; k >= 0; k-- {
		b.Take(placed[k])
	}
	return nil, failed
}

// Missing is how many pods must be placed together now for a group of which
// least are needed and some are placed: the rest of the gang, or one where it is
// complete. It is more than waiting when pods are yet to be created.
func Missing(least, placed int) int { return max(least-placed, 1) }

// Fewest returns the smallest k from low to high for which fits holds, where it
// holds for all greater ones too, or -1 when it does not hold for high.
func Fewest(low, high int, fits func(k int) bool) int {
	if low > high || !fits(high) {
		return -1
	}
	for low < high {
		mid := low + (high-low)/2
		if fits(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
