package fair

import "cmp"

// Holding is what is taken back as one: a pod, or a gang as a whole.
type Holding struct {
	Queue     string
	Amounts   Amounts
	Priority  int32
	Sequence  uint64 // later ones go first
	Protected bool   // a disruption budget wants to keep it: it goes last
}

// Below is a policy that spares holdings of the priority and above.
func Below(priority int32) func(Holding) bool {
	return func(h Holding) bool { return h.Priority < priority }
}

// Reclaim returns which holdings a queue may take back for what it asks, in the
// order in which they should go, as indices; and how many of them must go for
// the cohort to have room, or -1 when all do not suffice. At every step the
// queue loses something that stands the highest above its share, and none loses
// once it is back within its quota.
func (b *Book) Reclaim(queue string, key any, amounts Amounts, holdings []Holding, may func(Holding) bool) (order []int, need int) {
	claimant := b.account(queue)
	cohort := b.cohort(claimant)
	owned, short := total(cohort), Amounts{}
	left := map[string]*account{}
	usage := map[string]Amounts{}
	for _, a := range cohort {
		left[a.Name], usage[a.Name] = a, b.Usage(a.Name)
		short.Add(a.usage, 1)
		for k, r := range a.reserved {
			if k != key {
				short.Add(r, 1)
			}
		}
	}
	short.Add(amounts, 1)
	short.Add(owned, -1)
	enough := func() bool {
		for name := range owned {
			if amounts[name] > 0 && short[name] > 0 {
				return false
			}
		}
		return true
	}
	above := func(name string) bool {
		a := left[name]
		if a == nil || name == queue {
			return false
		}
		for r := range owned {
			if amounts[r] > 0 && usage[name][r] > a.Quota[r] {
				return true
			}
		}
		return false
	}
	taken := make([]bool, len(holdings))
	need = -1
	if enough() {
		need = 0
	}
	for {
		best := -1
		for i, h := range holdings {
			if taken[i] || !above(h.Queue) || !may(h) {
				continue
			}
			if best < 0 || b.before(h, holdings[best], left, usage, owned) {
				best = i
			}
		}
		if best < 0 {
			return order, need
		}
		h := holdings[best]
		taken[best] = true
		usage[h.Queue].Add(h.Amounts, -1)
		short.Add(h.Amounts, -1)
		order = append(order, best)
		if need < 0 && enough() {
			need = len(order)
		}
	}
}

// before reports whether x should go rather than y.
func (b *Book) before(x, y Holding, left map[string]*account, usage map[string]Amounts, owned Amounts) bool {
	sx, sy := share(left[x.Queue], usage[x.Queue], owned), share(left[y.Queue], usage[y.Queue], owned)
	return cmp.Or(
		cmp.Compare(flag(x.Protected), flag(y.Protected)),
		-cmp.Compare(sx, sy),
		cmp.Compare(x.Queue, y.Queue),
		cmp.Compare(x.Priority, y.Priority),
		-cmp.Compare(x.Sequence, y.Sequence),
	) < 0
}
