package gang

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// shelf is a board of bins.
type shelf struct {
	free  []int
	wants []int
	at    map[int]int
}

func (s *shelf) Put(i int) bool {
	for bin, free := range s.free {
		if free >= s.wants[i] {
			s.free[bin] -= s.wants[i]
			s.at[i] = bin
			return true
		}
	}
	return false
}

func (s *shelf) Take(i int) {
	s.free[s.at[i]] += s.wants[i]
	delete(s.at, i)
}

// A gang is placed as a whole or leaves everything as it was.
func TestAllOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{
			free:  rapid.SliceOfN(rapid.IntRange(0, 8), 1, 5).Draw(t, "bins"),
			wants: rapid.SliceOfN(rapid.IntRange(1, 5), 1, 8).Draw(t, "pods"), at: map[int]int{},
		}
		before, need := slices.Clone(s.free), rapid.IntRange(1, 8).Draw(t, "need")
		placed, failed := Place(s, len(s.wants), need)
		switch {
		case placed == nil && (len(s.at) > 0 || !slices.Equal(before, s.free)):
			t.Fatalf("half placed: %v", s.at)
		case placed != nil && (len(placed) < need || len(placed) != len(s.at)):
			t.Fatalf("%d of at least %d placed, %v", len(placed), need, s.at)
		case failed >= 0 && slices.Contains(placed, failed):
			t.Fatalf("pod %d both failed and is placed", failed)
		}
	})
}

func TestFewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low, high := rapid.IntRange(0, 5).Draw(t, "low"), rapid.IntRange(0, 40).Draw(t, "high")
		from := rapid.IntRange(0, 50).Draw(t, "from")
		want := max(low, from)
		if want > high {
			want = -1
		}
		if got := Fewest(low, high, func(k int) bool { return k >= from }); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}

func TestMissing(t *testing.T) {
	for _, tc := range [][3]int{{4, 0, 4}, {4, 3, 1}, {4, 4, 1}, {1, 7, 1}} {
		if got := Missing(tc[0], tc[1]); got != tc[2] {
			t.Errorf("least %d, placed %d: got %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}
