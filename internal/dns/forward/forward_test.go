package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// upstream is a name server on the loopback.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int32
}

func serve(t *testing.T, answer func(req, resp *dns.Msg, stream bool)) *upstream {
	t.Helper()
	u := &upstream{}
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.addr = netip.MustParseAddrPort(packets.LocalAddr().String())
	streams, err := net.Listen("tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		u.asked.Add(1)
		resp := new(dns.Msg)
		resp.SetReply(req)
		_, stream := w.RemoteAddr().(*net.TCPAddr)
		answer(req, resp, stream)
		_ = w.WriteMsg(resp)
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: streams, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

func record(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

func question(name string) dns.Question {
	return dns.Question{Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET}
}

func TestAnswersAreRemembered(t *testing.T) {
	u := serve(t, func(req, resp *dns.Msg, _ bool) {
		resp.Answer = []dns.RR{record(req.Question[0].Name + " 300 IN A 192.0.2.1")}
	})
	f := New(Options{Servers: []netip.AddrPort{u.addr}})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			m, err := f.Ask(context.Background(), question("www.example.com."), false)
			if err != nil || len(m.Answer) != 1 {
				t.Errorf("%v %v", m, err)
			}
		})
	}
	all.Wait()
	if _, err := f.Ask(context.Background(), question("WWW.example.com."), false); err != nil {
		t.Error(err)
	}
	if n := u.asked.Load(); n > 2 {
		t.Errorf("upstream was asked %d times for one name", n)
	}
}

func TestLongAnswersComeByTCP(t *testing.T) {
	u := serve(t, func(req, resp *dns.Msg, stream bool) {
		resp.Truncated = !stream
		for i := range 200 {
			if stream {
				resp.Answer = append(resp.Answer, record(fmt.Sprintf("%s 60 IN A 192.0.2.%d", req.Question[0].Name, i)))
			}
		}
	})
	m, err := New(Options{Servers: []netip.AddrPort{u.addr}}).Ask(context.Background(), question("long.example.com."), false)
	if err != nil || len(m.Answer) != 200 {
		t.Errorf("%v %v, want 200 records", m, err)
	}
}

func TestTheNextServerIsAsked(t *testing.T) {
	bad := serve(t, func(_, resp *dns.Msg, _ bool) { resp.Rcode = dns.RcodeServerFailure })
	good := serve(t, func(_, resp *dns.Msg, _ bool) { resp.Rcode = dns.RcodeNameError })
	f := New(Options{Servers: []netip.AddrPort{bad.addr, good.addr}})
	for i := range 3 {
		m, err := f.Ask(context.Background(), question(fmt.Sprint("n", i, ".example.com.")), false)
		if err != nil || m.Rcode != dns.RcodeNameError {
			t.Errorf("%v %v, want the good server's answer", m, err)
		}
	}
	if n := bad.asked.Load(); n != 1 {
		t.Errorf("the bad server was asked %d times, want once", n)
	}
}

func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	f := New(Options{ResolvConf: file, Avoid: []netip.Addr{netip.MustParseAddr("10.43.0.10")}})
	ask := func() error {
		_, err := f.Ask(context.Background(), question("www.example.com."), false)
		return err
	}
	if err := ask(); !errors.Is(err, ErrNoServer) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(file, []byte("search a.example\nnameserver 10.43.0.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(); !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), file) {
		t.Errorf("a server that leads back here: %v", err)
	}
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\nnameserver 10.43.0.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	servers, _, err := f.upstream()
	if err != nil || len(servers) != 1 || servers[0] != "127.0.0.1:53" {
		t.Errorf("after the file changed: %v %v", servers, err)
	}
}

func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache()
		k := keyOf(question("a.example."), false)
		m := new(dns.Msg)
		m.Answer = []dns.RR{record("a.example. 10 IN A 192.0.2.1")}
		c.put(k, m, time.Now())
		time.Sleep(4 * time.Second)
		if got := c.get(k, time.Now()); got == nil || got.Answer[0].Header().Ttl != 6 {
			t.Errorf("after 4 s: %v, want 6 s left", got)
		}
		time.Sleep(6 * time.Second)
		if got := c.get(k, time.Now()); got != nil {
			t.Errorf("after 10 s: %v", got)
		}
		absent := new(dns.Msg)
		absent.Rcode = dns.RcodeNameError
		absent.Ns = []dns.RR{record("example. 3600 IN SOA ns.example. h.example. 1 1 1 1 3")}
		c.put(k, absent, time.Now())
		time.Sleep(2 * time.Second)
		if c.get(k, time.Now()) == nil {
			t.Error("the name's absence was forgotten at once")
		}
		time.Sleep(time.Second)
		if c.get(k, time.Now()) != nil {
			t.Error("the name's absence is remembered longer than it says")
		}
		for i := range cacheSize + 10 {
			c.put(keyOf(question(fmt.Sprint(i, ".example.")), false), m, time.Now())
		}
		if len(c.items) != cacheSize || c.order.Len() != cacheSize {
			t.Errorf("%d and %d items, want %d", len(c.items), c.order.Len(), cacheSize)
		}
	})
}
