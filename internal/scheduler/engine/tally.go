package engine

import (
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// counter counts pods a node, and in every domain of the topology keys that
// somebody asked for.
type counter struct {
	onNode map[*node]int32
	views  []*view
}

// view is a counter by the values of one topology key. Nodes without the key,
// and nodes that are not known, do not count.
type view struct {
	from  *counter
	key   string
	count map[int32]int32 // by value's number; never zero
}

func (c *counter) add(n *node, by int32) {
	if c.onNode[n] += by; c.onNode[n] == 0 {
		delete(c.onNode, n)
	}
	for _, v := range c.views {
		v.add(n, by)
	}
}

func (v *view) add(n *node, by int32) {
	value := n.domain(v.key)
	if value == 0 {
		return
	}
	if v.count[value] += by; v.count[value] == 0 {
		delete(v.count, value)
	}
}

func (c *counter) view(key string) *view {
	for _, v := range c.views {
		if v.key == key {
			return v
		}
	}
	v := &view{from: c, key: key, count: map[int32]int32{}}
	for n, count := range c.onNode {
		v.add(n, count)
	}
	c.views = append(c.views, v)
	return v
}

// tally counts the pods that all of its matchers accept.
type tally struct {
	counter
	id  string
	all []matcher
	// living: pods that are being deleted do not count, not even as victims, which
	// kube-scheduler takes from its counts though they are not in them.
	living bool
	refs   int // classes that read it
	dead   bool
}

func (t *tally) matches(s *labelSet, namespaces NamespaceLabels) bool {
	if t.living && s.terminating {
		return false
	}
	for i := range t.all {
		if !t.all[i].matches(s.namespace, s.labels, namespaces) {
			return false
		}
	}
	return true
}

// held is a term that placed pods have and that binds, or pleases, others. It
// counts the pods that have it.
type held struct {
	counter
	id   string
	kind heldKind
	podTerm
	holders int // pods, and nominations, that have it
}

type heldKind byte

const (
	heldAnti heldKind = iota
	heldAffinity
	heldPreferAffinity
	heldPreferAnti
)

// labelSet is what selectors see of a pod. Pods with the same labels share one.
type labelSet struct {
	id          string
	namespace   string
	labels      labels.Set
	terminating bool
	onNode      map[*node]int32
	hits        []*tally
	pods        int
}

// index finds what may match a pod's labels by a label that it must have.
type index[T comparable] struct {
	anchored map[pair]map[T]bool
	general  map[T]bool
}

func newIndex[T comparable]() index[T] {
	return index[T]{anchored: map[pair]map[T]bool{}, general: map[T]bool{}}
}

func (x *index[T]) put(item T, m *matcher) {
	p, ok := m.anchor()
	if !ok {
		x.general[item] = true
		return
	}
	if x.anchored[p] == nil {
		x.anchored[p] = map[T]bool{}
	}
	x.anchored[p][item] = true
}

func (x *index[T]) drop(item T, m *matcher) {
	p, ok := m.anchor()
	if !ok {
		delete(x.general, item)
		return
	}
	delete(x.anchored[p], item)
	if len(x.anchored[p]) == 0 {
		delete(x.anchored, p)
	}
}

// candidates calls yield for everything that may match the labels.
func (x *index[T]) candidates(set labels.Set, yield func(T)) {
	if len(x.anchored) > 0 {
		for k, v := range set {
			for item := range x.anchored[pair{k, v}] {
				yield(item)
			}
		}
	}
	for item := range x.general {
		yield(item)
	}
}

// terms owns all tallies, held terms and label sets.
type terms struct {
	namespaces  NamespaceLabels
	tallies     map[string]*tally
	tallyIndex  index[*tally]
	held        map[string]*held
	heldIndex   index[*held]
	heldVersion uint64 // raised when a held term comes or goes
	sets        map[string]*labelSet
	byNamespace map[string]map[*labelSet]bool
}

func newTerms(namespaces NamespaceLabels) *terms {
	return &terms{
		namespaces: namespaces,
		tallies:    map[string]*tally{}, tallyIndex: newIndex[*tally](),
		held: map[string]*held{}, heldIndex: newIndex[*held](),
		sets: map[string]*labelSet{}, byNamespace: map[string]map[*labelSet]bool{},
	}
}

// tally returns the count of pods that all matchers accept, and keeps it until
// release.
func (ts *terms) tally(all []matcher, living bool) *tally {
	var b strings.Builder
	if living {
		b.WriteByte('~')
	}
	for i := range all {
		b.WriteString(all[i].id())
		b.WriteByte('&')
	}
	id := b.String()
	t := ts.tallies[id]
	if t == nil {
		t = &tally{id: id, all: all, living: living, counter: counter{onNode: map[*node]int32{}}}
		ts.tallies[id] = t
		ts.tallyIndex.put(t, &all[0])
		ts.fill(t)
	}
	t.refs++
	return t
}

func (ts *terms) fill(t *tally) {
	take := func(s *labelSet) {
		if !t.matches(s, ts.namespaces) {
			return
		}
		s.hits = append(s.hits, t)
		for n, count := range s.onNode {
			t.add(n, count)
		}
	}
	if first := &t.all[0]; first.nsSelector == nil {
		for _, ns := range first.namespaces {
			for s := range ts.byNamespace[ns] {
				take(s)
			}
		}
		return
	}
	for _, s := range ts.sets {
		take(s)
	}
}

func (ts *terms) release(t *tally) {
	if t.refs--; t.refs > 0 {
		return
	}
	t.dead = true
	delete(ts.tallies, t.id)
	ts.tallyIndex.drop(t, &t.all[0])
}

func (ts *terms) set(namespace string, set map[string]string, terminating bool) *labelSet {
	id := labelsID(namespace, set, terminating)
	s := ts.sets[id]
	if s == nil {
		s = &labelSet{id: id, namespace: namespace, labels: set, terminating: terminating, onNode: map[*node]int32{}}
		ts.sets[id] = s
		if ts.byNamespace[namespace] == nil {
			ts.byNamespace[namespace] = map[*labelSet]bool{}
		}
		ts.byNamespace[namespace][s] = true
		ts.tallyIndex.candidates(s.labels, func(t *tally) {
			if t.matches(s, ts.namespaces) {
				s.hits = append(s.hits, t)
			}
		})
	}
	return s
}

func labelsID(namespace string, set map[string]string, terminating bool) string {
	keys := make([]string, 0, len(set))
	size := len(namespace) + 2
	for k, v := range set {
		keys = append(keys, k)
		size += len(k) + len(v) + 2
	}
	sort.Strings(keys)
	b := make([]byte, 0, size)
	b = append(b, namespace...)
	if terminating {
		b = append(b, 1)
	}
	for _, k := range keys {
		b = append(b, 0)
		b = append(b, k...)
		b = append(b, 0)
		b = append(b, set[k]...)
	}
	return string(b)
}

// count counts by pods with the labels on a node in all tallies that match.
func (s *labelSet) count(n *node, by int32) {
	if s.onNode[n] += by; s.onNode[n] == 0 {
		delete(s.onNode, n)
	}
	alive := s.hits[:0]
	for _, t := range s.hits {
		if t.dead {
			continue
		}
		alive = append(alive, t)
		t.add(n, by)
	}
	clear(s.hits[len(alive):])
	s.hits = alive
}

// hold returns the held terms of a pod, made if need be.
func (ts *terms) hold(all *podTerms) []*held {
	var out []*held
	add := func(list []podTerm, kind heldKind, prefix string) {
		for i := range list {
			t := &list[i]
			id := prefix + t.key + "|" + weightID(t.weight) + t.id()
			h := ts.held[id]
			if h == nil {
				h = &held{id: id, kind: kind, podTerm: *t, counter: counter{onNode: map[*node]int32{}}}
				h.view(t.key)
				ts.held[id] = h
				ts.heldIndex.put(h, &h.matcher)
				ts.heldVersion++
			}
			h.holders++
			out = append(out, h)
		}
	}
	add(all.anti, heldAnti, "a")
	add(all.affinity, heldAffinity, "r")
	add(all.preferAffinity, heldPreferAffinity, "p")
	add(all.preferAnti, heldPreferAnti, "q")
	return out
}

func weightID(w int64) string {
	if w == 0 {
		return ""
	}
	return string(rune(w)) + "|"
}

func (ts *terms) letGo(all []*held) {
	for _, h := range all {
		if h.holders--; h.holders == 0 {
			delete(ts.held, h.id)
			ts.heldIndex.drop(h, &h.matcher)
			ts.heldVersion++
		}
	}
}

// heldFor returns the held terms that speak of pods with the labels.
func (ts *terms) heldFor(namespace string, set labels.Set) []*held {
	var out []*held
	ts.heldIndex.candidates(set, func(h *held) {
		if h.matches(namespace, set, ts.namespaces) {
			out = append(out, h)
		}
	})
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

// dropUnused frees a label set that no pod has.
func (ts *terms) dropUnused(s *labelSet) {
	if s.pods > 0 {
		return
	}
	delete(ts.sets, s.id)
	delete(ts.byNamespace[s.namespace], s)
	if len(ts.byNamespace[s.namespace]) == 0 {
		delete(ts.byNamespace, s.namespace)
	}
}

// byNamespaceLabels reports whether any term asks for labels of namespaces.
func (ts *terms) byNamespaceLabels() bool {
	for _, t := range ts.tallies {
		for i := range t.all {
			if t.all[i].nsSelector != nil {
				return true
			}
		}
	}
	for _, h := range ts.held {
		if h.nsSelector != nil {
			return true
		}
	}
	return false
}

// rematch finds again which tallies count the pods of a label set.
func (ts *terms) rematch(s *labelSet) {
	for _, t := range s.hits {
		for n, count := range s.onNode {
			t.add(n, -count)
		}
	}
	s.hits = nil
	ts.tallyIndex.candidates(s.labels, func(t *tally) {
		if t.matches(s, ts.namespaces) {
			s.hits = append(s.hits, t)
			for n, count := range s.onNode {
				t.add(n, count)
			}
		}
	})
}
