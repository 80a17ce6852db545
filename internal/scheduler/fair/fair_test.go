package fair

import (
	"fmt"
	"math"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func cpu(n int64) Amounts { return Amounts{corev1.ResourceCPU: n} }

func TestAsk(t *testing.T) {
	b := NewBook()
	b.Set(Queue{Name: "a", Cohort: "c", Quota: cpu(4)})
	b.Set(Queue{Name: "b", Cohort: "c", Quota: cpu(4), Limit: cpu(6)})
	b.Set(Queue{Name: "alone", Quota: cpu(2)})
	b.Charge("b", cpu(3), 1)
	for _, tc := range []struct {
		queue string
		ask   Amounts
		want  Standing
	}{
		{"a", cpu(4), Within},
		{"a", cpu(5), Borrows},
		{"a", cpu(6), Waits},
		{"a", cpu(9), Never},
		{"b", cpu(1), Within},
		{"b", cpu(3), Borrows},
		{"b", cpu(4), Waits},
		{"b", cpu(7), Never},
		{"alone", cpu(2), Within},
		{"alone", cpu(3), Never},
		{"alone", Amounts{"example.com/gpu": 9}, Within}, // nobody governs it
		{"other", cpu(1), Unknown},
	} {
		if got := b.Ask(tc.queue, nil, tc.ask).Standing; got != tc.want {
			t.Errorf("%s asks for %v: got %v, want %v", tc.queue, tc.ask, got, tc.want)
		}
	}
	b.Charge("b", cpu(3), 1)
	if got := b.Ask("a", nil, cpu(3)).Standing; got != Lent {
		t.Errorf("a asks for what b borrowed: got %v, want %v", got, Lent)
	}
	b.Charge("b", cpu(3), -1)
	b.Reserve("a", 1, cpu(4))
	if got := b.Ask("b", nil, cpu(2)).Standing; got != Waits {
		t.Errorf("b asks for what is kept for a: got %v, want %v", got, Waits)
	}
	if got := b.Ask("a", 1, cpu(4)).Standing; got != Within {
		t.Errorf("a asks for what is kept for it: got %v, want %v", got, Within)
	}
}

// world is a random cohort with random work.
type world struct {
	book     *Book
	queues   []Queue
	holdings []Holding
}

func drawWorld(t *rapid.T) *world {
	w := &world{book: NewBook()}
	for i := range rapid.IntRange(1, 4).Draw(t, "queues") {
		q := Queue{
			Name: fmt.Sprint("q", i), Cohort: "c", Weight: rapid.Int64Range(1, 4).Draw(t, "weight"),
			Quota: Amounts{corev1.ResourceCPU: rapid.Int64Range(0, 20).Draw(t, "cpu"), corev1.ResourceMemory: rapid.Int64Range(0, 20).Draw(t, "memory")},
		}
		if rapid.Bool().Draw(t, "limited") {
			q.Limit = cpu(q.Quota[corev1.ResourceCPU] + rapid.Int64Range(0, 10).Draw(t, "beyond"))
		}
		w.queues = append(w.queues, q)
		w.book.Set(q)
	}
	return w
}

func drawAmounts(t *rapid.T) Amounts {
	return Amounts{corev1.ResourceCPU: rapid.Int64Range(0, 4).Draw(t, "cpu"), corev1.ResourceMemory: rapid.Int64Range(0, 4).Draw(t, "memory")}
}

func (w *world) fill(t *rapid.T) {
	for i := range rapid.IntRange(0, 60).Draw(t, "pods") {
		h := Holding{
			Queue: w.queues[rapid.IntRange(0, len(w.queues)-1).Draw(t, "queue")].Name, Amounts: drawAmounts(t),
			Priority: int32(rapid.IntRange(0, 2).Draw(t, "priority")), Sequence: uint64(i),
		}
		if w.book.Ask(h.Queue, nil, h.Amounts).Standing <= Borrows {
			w.book.Charge(h.Queue, h.Amounts, 1)
			w.holdings = append(w.holdings, h)
		}
	}
}

func (w *world) used(name corev1.ResourceName) (used, owned int64) {
	for _, q := range w.queues {
		used += w.book.Usage(q.Name)[name]
		owned += q.Quota[name]
	}
	return used, owned
}

// Whatever is admitted, no cohort uses more than it owns, and no queue more than
// its limit.
func TestNobodyExceedsWhatThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.fill(t)
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if used, owned := w.used(name); used > owned {
				t.Fatalf("%s: %d of %d used", name, used, owned)
			}
		}
		for _, q := range w.queues {
			if limit, ok := q.Limit[corev1.ResourceCPU]; ok && w.book.Usage(q.Name)[corev1.ResourceCPU] > limit {
				t.Fatalf("queue %s is above its limit", q.Name)
			}
		}
	})
}

// What is within a queue's quota is always to be had, when all may be taken back;
// and nothing is taken from a queue that is within its own.
func TestQuotaIsReachable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.fill(t)
		q, ask := w.queues[0], drawAmounts(t)
		for name, n := range ask {
			if w.book.Usage(q.Name)[name]+n > q.Quota[name] {
				return
			}
		}
		if v := w.book.Ask(q.Name, nil, ask); v.Standing != Within && v.Standing != Lent {
			t.Fatalf("within its quota, but stands %v", v)
		}
		order, need := w.book.Reclaim(q.Name, nil, ask, w.holdings, func(Holding) bool { return true })
		if need < 0 {
			t.Fatalf("quota is out of reach")
		}
		for _, i := range order[:need] {
			h := w.holdings[i]
			over := false
			for _, other := range w.queues {
				if other.Name == h.Queue {
					u := w.book.Usage(h.Queue)
					over = u[corev1.ResourceCPU] > other.Quota[corev1.ResourceCPU] || u[corev1.ResourceMemory] > other.Quota[corev1.ResourceMemory]
				}
			}
			if h.Queue == q.Name || !over {
				t.Fatalf("taken from %s, which is within its quota", h.Queue)
			}
			w.book.Charge(h.Queue, h.Amounts, -1)
		}
		if v := w.book.Ask(q.Name, nil, ask); v.Standing != Within {
			t.Fatalf("after reclaim it stands %v", v)
		}
	})
}

// Queues that all want more than there is come to use what their weights say,
// but for one pod.
func TestSharesConvergeToWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook()
		b.Set(Queue{Name: "pool", Cohort: "c", Quota: cpu(1200)}) // lends all it has
		names, sum := []string{}, int64(0)
		weights := map[string]int64{}
		for i := range rapid.IntRange(2, 5).Draw(t, "queues") {
			name := fmt.Sprint("q", i)
			weights[name] = rapid.Int64Range(1, 5).Draw(t, "weight")
			sum += weights[name]
			names = append(names, name)
			b.Set(Queue{Name: name, Cohort: "c", Weight: weights[name]})
		}
		for {
			var turns []Turn
			best := -1
			for i, name := range names {
				v := b.Ask(name, nil, cpu(1))
				turns = append(turns, Turn{Standing: v.Standing, Share: b.Share(name), Sequence: uint64(i)})
				if v.Standing <= Borrows && (best < 0 || turns[i].Compare(turns[best]) < 0) {
					best = i
				}
			}
			if best < 0 {
				break
			}
			b.Charge(names[best], cpu(1), 1)
		}
		for _, name := range names {
			want := 1200 * float64(weights[name]) / float64(sum)
			if got := float64(b.Usage(name)[corev1.ResourceCPU]); math.Abs(got-want) > float64(weights[name])+1 {
				t.Fatalf("%s of weight %d: got %v of 1200, want about %v", name, weights[name], got, want)
			}
		}
	})
}

func TestReclaimTakesTheLeastImportantFirst(t *testing.T) {
	b := NewBook()
	b.Set(Queue{Name: "a", Cohort: "c", Quota: cpu(4)})
	b.Set(Queue{Name: "b", Cohort: "c", Quota: cpu(4)})
	holdings := []Holding{
		{Queue: "b", Amounts: cpu(2), Priority: 5, Sequence: 1},
		{Queue: "b", Amounts: cpu(2), Priority: 0, Sequence: 2, Protected: true},
		{Queue: "b", Amounts: cpu(2), Priority: 0, Sequence: 3},
		{Queue: "b", Amounts: cpu(2), Priority: 0, Sequence: 4},
	}
	for _, h := range holdings {
		b.Charge("b", h.Amounts, 1)
	}
	order, need := b.Reclaim("a", nil, cpu(2), holdings, Below(9))
	if !slices.Equal(order, []int{3, 2}) || need != 1 {
		t.Errorf("got %v of which %d, want the youngest of the least important, and no more than what is above the quota", order, need)
	}
	if order, need := b.Reclaim("a", nil, cpu(2), holdings, Below(0)); need != -1 || len(order) != 0 {
		t.Errorf("got %v and %d from pods that may not be taken", order, need)
	}
}

func TestTurns(t *testing.T) {
	order := []Turn{ // each comes before the next
		{Begun: true, Standing: Borrows, Share: 9, Priority: -1, Sequence: 9}, // the rest of a gang that lost a binding
		{Standing: Within, Share: 0.5, Sequence: 8},
		{Standing: Within, Share: 0.6, Priority: 1, Sequence: 7},
		{Standing: Borrows, Share: 0.1, Priority: 5, Sequence: 6},
		{Standing: Borrows, Share: 0.2, Priority: 5, Sequence: 1},
		{Standing: Borrows, Share: 0.2, Priority: 4, Sequence: 0},
		{Standing: Borrows, Share: 0.2, Priority: 4, Sequence: 2},
	}
	for i := range order[1:] {
		if order[i].Compare(order[i+1]) >= 0 {
			t.Errorf("%+v does not come before %+v", order[i], order[i+1])
		}
	}
}
