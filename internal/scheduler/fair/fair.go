// Package fair decides whose turn it is when queues share a cluster: dominant
// resource fairness with guaranteed quotas, borrowing within a cohort, and the
// choice of what a queue takes back. It is pure: a Book knows only what it is
// told, asks nobody and has no clock.
//
// A cohort owns the sum of its queues' quotas. A queue may always use its quota;
// what others of the cohort leave unused it may borrow, up to its limit. Among
// queues that wait, who stays within its quota comes first, then whose greatest
// part of any resource of the cohort, divided by its weight, is the smallest
// (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011).
package fair

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Amounts is an amount of each resource: CPU in thousandths, others in base units.
type Amounts map[corev1.ResourceName]int64

// AmountsOf reads a resource list.
func AmountsOf(list corev1.ResourceList) Amounts {
	out := Amounts{}
	for name, q := range list {
		if name == corev1.ResourceCPU {
			out[name] = q.MilliValue()
		} else {
			out[name] = q.Value()
		}
	}
	return out
}

// Add adds sign × b.
func (a Amounts) Add(b Amounts, sign int64) {
	for name, n := range b {
		a[name] += sign * n
	}
}

// Queue is what one queue is entitled to.
type Queue struct {
	Name   string
	Cohort string // "": it stands alone
	Quota  Amounts
	Limit  Amounts // of a resource that it does not name there is no limit
	Weight int64
}

// account is a queue with what it uses.
type account struct {
	Queue
	usage    Amounts
	reserved map[any]Amounts
}

// Book holds the queues and what they use. A charge to a queue that does not
// exist yet is kept for when it does.
type Book struct {
	accounts map[string]*account
	known    map[string]bool
}

// NewBook returns an empty book.
func NewBook() *Book { return &Book{accounts: map[string]*account{}, known: map[string]bool{}} }

func (b *Book) account(name string) *account {
	a := b.accounts[name]
	if a == nil {
		a = &account{Queue: Queue{Name: name}, usage: Amounts{}, reserved: map[any]Amounts{}}
		b.accounts[name] = a
	}
	return a
}

// Set adds a queue or takes in its new state.
func (b *Book) Set(q Queue) {
	q.Weight = max(q.Weight, 1)
	b.account(q.Name).Queue = q
	b.known[q.Name] = true
}

// Remove forgets a queue; what its pods use is no longer anybody's.
func (b *Book) Remove(name string) {
	delete(b.known, name)
	if a := b.accounts[name]; a != nil {
		a.Queue = Queue{Name: name}
	}
}

// Known reports whether there is such a queue.
func (b *Book) Known(name string) bool { return b.known[name] }

// Charge notes that a queue uses sign × amounts more.
func (b *Book) Charge(queue string, amounts Amounts, sign int64) {
	b.account(queue).usage.Add(amounts, sign)
}

// Reserve keeps room in the cohort for what a queue has made room for; nil gives
// it up. Who reserved is told apart by key.
func (b *Book) Reserve(queue string, key any, amounts Amounts) {
	if amounts == nil {
		delete(b.account(queue).reserved, key)
		return
	}
	b.account(queue).reserved[key] = amounts
}

// Usage is what a queue uses.
func (b *Book) Usage(queue string) Amounts { return maps.Clone(b.account(queue).usage) }

// cohort returns the queues that share with one, itself included.
func (b *Book) cohort(of *account) []*account {
	if of.Cohort == "" {
		return []*account{of}
	}
	var out []*account
	for name := range b.known {
		if a := b.accounts[name]; a.Cohort == of.Cohort {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *account) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// total is what a cohort owns.
func total(cohort []*account) Amounts {
	out := Amounts{}
	for _, a := range cohort {
		out.Add(a.Quota, 1)
	}
	return out
}

// Share is a queue's weighted dominant share.
func (b *Book) Share(queue string) float64 {
	a := b.account(queue)
	return share(a, a.usage, total(b.cohort(a)))
}

func share(a *account, usage, total Amounts) float64 {
	most := 0.0
	for name, n := range usage {
		if total[name] > 0 {
			most = max(most, float64(n)/float64(total[name]))
		}
	}
	return most / float64(max(a.Weight, 1))
}

// Standing is how what is asked for relates to what a queue may have.
type Standing int

// The standings, the best first.
const (
	Within  Standing = iota // it stays within its quota
	Borrows                 // it fits into what others leave unused
	Lent                    // it is within its quota, which others use
	Waits                   // it would fit, were others not using it
	Never                   // it is more than the queue can ever have
	Unknown                 // there is no such queue
)

// Verdict says how a request stands, and which resource decides that.
type Verdict struct {
	Standing Standing
	Resource corev1.ResourceName
	Wanted   int64 // by the request,
	Free     int64 // for the queue now,
	Most     int64 // for the queue ever
	Limit    bool  // it is the queue's own limit that stands in the way
}

// Ask tells whether a queue may use amounts more. key is that of a reservation
// which is the asker's own.
func (b *Book) Ask(queue string, key any, amounts Amounts) Verdict {
	if !b.known[queue] {
		return Verdict{Standing: Unknown}
	}
	a := b.accounts[queue]
	cohort := b.cohort(a)
	owned, used := total(cohort), Amounts{}
	for _, other := range cohort {
		used.Add(other.usage, 1)
		for k, r := range other.reserved {
			if k != key {
				used.Add(r, 1)
			}
		}
	}
	out := Verdict{Standing: Within}
	worse := func(s Standing, name corev1.ResourceName, free, most int64, limit bool) {
		if s > out.Standing {
			out = Verdict{Standing: s, Resource: name, Wanted: amounts[name], Free: max(free, 0), Most: most, Limit: limit}
		}
	}
	within := true
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		n := amounts[name]
		limit, limited := a.Limit[name]
		if n <= 0 {
			continue
		}
		if limited && a.usage[name]+n > limit {
			worse(waitsOrNever(n, limit), name, limit-a.usage[name], limit, true)
		}
		if _, governed := owned[name]; !governed {
			continue
		}
		within = within && a.usage[name]+n <= a.Quota[name]
		if used[name]+n > owned[name] {
			worse(waitsOrNever(n, owned[name]), name, owned[name]-used[name], owned[name], false)
		}
	}
	switch {
	case !within && out.Standing == Within:
		out.Standing = Borrows
	case within && out.Standing == Waits && !out.Limit:
		out.Standing = Lent
	}
	return out
}

func waitsOrNever(wanted, most int64) Standing {
	if wanted > most {
		return Never
	}
	return Waits
}

// Turn is a request at the head of a queue.
type Turn struct {
	Standing Standing
	Share    float64
	Begun    bool // part of its group is placed: the rest comes first
	Priority int32
	Sequence uint64
}

// Compare is negative when a comes before b.
func (a Turn) Compare(b Turn) int {
	return cmp.Or(
		-cmp.Compare(flag(a.Begun), flag(b.Begun)),
		cmp.Compare(flag(a.Standing != Within), flag(b.Standing != Within)),
		cmp.Compare(a.Share, b.Share),
		-cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.Sequence, b.Sequence),
	)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
