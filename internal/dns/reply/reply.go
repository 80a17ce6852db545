// Package reply turns a client's packet into the packet that answers it: which
// questions are taken, who is asked, how an answer is cut to the way it goes back.
// It opens no socket and keeps no state, so that a fuzzer can try it as it is.
package reply

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"

	"github.com/miekg/dns"

	"github.com/sinawi/sinawi/internal/dns/forward"
	"github.com/sinawi/sinawi/internal/dns/zone"
)

// UDPSize is the largest datagram sent or taken: it passes every path unbroken.
const UDPSize = 1232

// Responder answers requests.
type Responder struct {
	// Cluster answers questions about the cluster; known is false while what it
	// says may be wrong.
	Cluster func(dns.Question) (a zone.Answer, ours, known bool)
	// Ask has others answer.
	Ask func(ctx context.Context, q dns.Question, dnssec bool) (*dns.Msg, error)
	Log *slog.Logger
}

// Respond answers a request; nil for what deserves no answer.
func (r Responder) Respond(ctx context.Context, req *dns.Msg, stream bool) *dns.Msg {
	if req.Response {
		return nil // answering answers could go on for ever
	}
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.RecursionAvailable = true
	opt := req.IsEdns0()
	switch {
	case opt != nil && opt.Version() != 0:
		resp.Rcode = dns.RcodeBadVers
	case req.Opcode != dns.OpcodeQuery:
		resp.Rcode = dns.RcodeNotImplemented
	case len(req.Question) != 1:
		resp.Rcode = dns.RcodeFormatError
	default:
		r.answer(ctx, resp, opt)
	}
	return finish(resp, opt, stream)
}

// finish fits the response to the way it goes back.
func finish(resp *dns.Msg, opt *dns.OPT, stream bool) *dns.Msg {
	size := dns.MinMsgSize
	if opt != nil {
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), UDPSize)
		if resp.IsEdns0() == nil {
			resp.SetEdns0(UDPSize, opt.Do())
		}
	}
	if stream {
		size = dns.MaxMsgSize
	}
	resp.Compress = true
	resp.Truncate(size)
	return resp
}

func (r Responder) answer(ctx context.Context, resp *dns.Msg, opt *dns.OPT) {
	q := resp.Question[0]
	switch {
	case q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY, q.Qtype == dns.TypeAXFR, q.Qtype == dns.TypeIXFR:
		resp.Rcode = dns.RcodeRefused
		return
	}
	a, ours, known := r.Cluster(q)
	if !ours {
		r.recurse(ctx, resp, q, opt)
		return
	}
	if !known {
		fail(resp, opt, "the cluster's services are not known yet")
		return
	}
	shuffle(a.Answer)
	resp.Authoritative = true
	resp.Rcode, resp.Answer, resp.Ns, resp.Extra = a.Rcode, a.Answer, a.Ns, a.Extra
	if a.Follow != "" {
		r.follow(ctx, resp, a, opt)
	}
}

// follow adds where an alias leads outside the cluster.
func (r Responder) follow(ctx context.Context, resp *dns.Msg, a zone.Answer, opt *dns.OPT) {
	q := resp.Question[0]
	got, err := r.Ask(ctx, dns.Question{Name: a.Follow, Qtype: q.Qtype, Qclass: q.Qclass}, opt != nil && opt.Do())
	if err != nil {
		// The alias is true whatever its target is, and may be all that was wanted.
		r.Log.Debug("target of an external name", "name", a.Follow, "err", err)
		resp.Rcode = dns.RcodeServerFailure
		return
	}
	resp.Rcode = got.Rcode
	resp.Answer = append(resp.Answer, got.Answer...)
	resp.Ns = got.Ns
}

// recurse has others answer.
func (r Responder) recurse(ctx context.Context, resp *dns.Msg, q dns.Question, opt *dns.OPT) {
	if !resp.RecursionDesired {
		resp.Rcode = dns.RcodeRefused
		return
	}
	got, err := r.Ask(ctx, q, opt != nil && opt.Do())
	if err != nil {
		reason := "no upstream name server answers"
		if errors.Is(err, forward.ErrNoServer) {
			reason = err.Error()
		}
		r.Log.Debug("forward a question", "name", q.Name, "err", err)
		fail(resp, opt, reason)
		return
	}
	resp.Rcode, resp.Answer, resp.Ns = got.Rcode, got.Answer, got.Ns
	resp.AuthenticatedData = got.AuthenticatedData
	resp.Extra = nil
	for _, rr := range got.Extra {
		if rr.Header().Rrtype != dns.TypeOPT { // it spoke of the way between upstream and here
			resp.Extra = append(resp.Extra, rr)
		}
	}
}

// fail says SERVFAIL, with the reason to whom can read it.
func fail(resp *dns.Msg, opt *dns.OPT, reason string) {
	resp.Rcode = dns.RcodeServerFailure
	if opt == nil {
		return
	}
	resp.SetEdns0(UDPSize, opt.Do())
	o := resp.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNetworkError, ExtraText: reason})
}

// shuffle spreads clients that take the first address over all of them. An alias
// stays in front of what it leads to.
func shuffle(list []dns.RR) {
	first := 0
	for first < len(list) && list[first].Header().Rrtype == dns.TypeCNAME {
		first++
	}
	rest := list[first:]
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
}
