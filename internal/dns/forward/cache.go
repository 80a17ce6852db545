package forward

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheSize = 2048
	// longest bounds what upstream says: a pod expects a change soon.
	longest = 30 * time.Second
	// failure is how long a failure is remembered, so that a host without a
	// network is not asked again and again.
	failure = time.Second
)

type key struct {
	name        string
	qtype, qcls uint16
	dnssec      bool
}

func keyOf(q dns.Question, dnssec bool) key {
	return key{dns.CanonicalName(q.Name), q.Qtype, q.Qclass, dnssec}
}

func (k key) String() string { return fmt.Sprint(k.name, " ", k.qtype, " ", k.qcls, " ", k.dnssec) }

// cache holds the answers used last. It is safe for use by several goroutines.
type cache struct {
	mu    sync.Mutex // guards the fields below
	order *list.List // of *item, used last in front
	items map[key]*list.Element
}

type item struct {
	key     key
	msg     *dns.Msg
	at, end time.Time
}

func newCache() *cache { return &cache{order: list.New(), items: map[key]*list.Element{}} }

// get returns a copy of what is remembered, its records older by the time passed.
func (c *cache) get(k key, now time.Time) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[k]
	if e == nil {
		return nil
	}
	it := e.Value.(*item)
	if !now.Before(it.end) {
		c.order.Remove(e)
		delete(c.items, k)
		return nil
	}
	c.order.MoveToFront(e)
	m := it.msg.Copy()
	older := uint32(now.Sub(it.at) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(older, h.Ttl)
			}
		}
	}
	return m
}

func (c *cache) put(k key, m *dns.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[k]; e != nil {
		c.order.Remove(e)
	}
	c.items[k] = c.order.PushFront(&item{k, m.Copy(), now, now.Add(ttl)})
	for c.order.Len() > cacheSize {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.items, last.Value.(*item).key)
	}
}

// lifetime of an answer: that of its shortest record, or of what its absence says.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated {
		return 0
	}
	ttl := longest
	shorten := func(seconds uint32) { ttl = min(ttl, time.Duration(seconds)*time.Second) }
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	default:
		return failure
	}
	for _, rr := range m.Answer {
		shorten(rr.Header().Ttl)
	}
	if len(m.Answer) > 0 && m.Rcode == dns.RcodeSuccess {
		return ttl
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			shorten(min(soa.Minttl, soa.Hdr.Ttl))
			return ttl
		}
	}
	return min(ttl, failure) // nothing says how long it is absent
}
