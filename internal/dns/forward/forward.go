package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// Options say whom to ask.
type Options struct {
	// ResolvConf is the host's resolver configuration; empty means /etc/resolv.conf.
	ResolvConf string
	// Servers are asked instead of those of ResolvConf, if any are given.
	Servers []netip.AddrPort
	// Avoid are addresses that lead back to whoever forwards.
	Avoid []netip.Addr
}

const (
	// patience is how long one server may take, and patienceAll all of them; a
	// pod's resolver asks again after five seconds.
	patience    = 2 * time.Second
	patienceAll = 3 * time.Second
	// udpSize fits into every path's packets.
	udpSize = 1232
)

// ErrNoServer says that the host knows no name server but this one.
var ErrNoServer = errors.New("no upstream name server")

// Forwarder asks upstream servers. It is safe for use by several goroutines.
type Forwarder struct {
	o      Options
	flight singleflight.Group
	cache  *cache

	mu      sync.Mutex // guards the fields below
	servers []string
	read    time.Time // of the file that servers are from
	good    int       // the server that answered last
}

// New returns a forwarder with an empty cache.
func New(o Options) *Forwarder {
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	return &Forwarder{o: o, cache: newCache()}
}

// Ask answers a question; the response is the caller's own.
func (f *Forwarder) Ask(ctx context.Context, q dns.Question, dnssec bool) (*dns.Msg, error) {
	key := keyOf(q, dnssec)
	if m := f.cache.get(key, time.Now()); m != nil {
		return m, nil
	}
	got, err, _ := f.flight.Do(key.String(), func() (any, error) {
		// Whoever asks first must not take the others down with it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patienceAll)
		defer cancel()
		m, err := f.ask(ctx, q, dnssec)
		if err == nil {
			f.cache.put(key, m, time.Now())
		}
		return m, err
	})
	if err != nil {
		return nil, err
	}
	return got.(*dns.Msg).Copy(), nil
}

// ask tries the servers in order, beginning with the one that answered last.
func (f *Forwarder) ask(ctx context.Context, q dns.Question, dnssec bool) (*dns.Msg, error) {
	servers, first, err := f.upstream()
	if err != nil {
		return nil, err
	}
	var errs []error
	var worst *dns.Msg
	for i := range servers {
		at := (first + i) % len(servers)
		m, err := exchange(ctx, servers[at], q, dnssec)
		if err != nil {
			errs = append(errs, fmt.Errorf("ask %s: %w", servers[at], err))
			continue
		}
		if m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused {
			worst = m
			continue
		}
		f.mu.Lock()
		f.good = at
		f.mu.Unlock()
		return m, nil
	}
	if worst != nil {
		return worst, nil
	}
	return nil, errors.Join(errs...)
}

func exchange(ctx context.Context, server string, q dns.Question, dnssec bool) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.Question = []dns.Question{q}
	m.Id, m.RecursionDesired = dns.Id(), true
	m.SetEdns0(udpSize, dnssec)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, _, err := (&dns.Client{Net: "udp", Timeout: patience, UDPSize: udpSize}).ExchangeContext(ctx, m, server)
	if err == nil && got.Rcode == dns.RcodeFormatError && got.IsEdns0() == nil {
		m.Extra = nil // a server of long ago
		got, _, err = (&dns.Client{Net: "udp", Timeout: patience}).ExchangeContext(ctx, m, server)
	}
	if err == nil && got.Truncated {
		whole, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).ExchangeContext(ctx, m, server)
		if err == nil {
			got = whole
		}
	}
	if err != nil {
		return nil, err
	}
	if len(got.Question) != 1 || !got.Response || dns.CanonicalName(got.Question[0].Name) != dns.CanonicalName(q.Name) {
		return nil, errors.New("the answer is to another question")
	}
	return got, nil
}

// upstream returns the servers and which to ask first.
func (f *Forwarder) upstream() ([]string, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.o.Servers) > 0 {
		f.servers = nil
		for _, s := range f.o.Servers {
			f.servers = append(f.servers, s.String())
		}
		return f.servers, f.good % len(f.servers), nil
	}
	info, err := os.Stat(f.o.ResolvConf)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	if f.servers == nil || !info.ModTime().Equal(f.read) {
		conf, err := dns.ClientConfigFromFile(f.o.ResolvConf)
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", f.o.ResolvConf, err)
		}
		f.servers, f.read, f.good = f.usable(conf.Servers), info.ModTime(), 0
	}
	if len(f.servers) == 0 {
		return nil, 0, fmt.Errorf("%w: %s names none but this one", ErrNoServer, f.o.ResolvConf)
	}
	return f.servers, f.good, nil
}

// usable are the servers that do not lead back here.
func (f *Forwarder) usable(list []string) []string {
	out := []string{}
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil || slices.Contains(f.o.Avoid, a.Unmap().WithZone("")) {
			continue
		}
		out = append(out, net.JoinHostPort(s, "53"))
	}
	return out
}
