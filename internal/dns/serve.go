package dns

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/sinawi/sinawi/internal/dns/zone"
)

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, stream := w.RemoteAddr().(*net.TCPAddr)
	if resp := s.responder.Respond(ctx, req, stream); resp != nil {
		_ = w.WriteMsg(resp) // who asked may be gone
	}
}

// answer answers about the cluster.
func (s *Server) answer(q dns.Question) (a zone.Answer, ours, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, ours = s.zone.Answer(q)
	return a, ours, s.synced.Load()
}
