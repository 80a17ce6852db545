// Package certificate proves callers by their client certificates, as upstream
// does: the common name is the user, the organizations are the groups.
//
// To verify a certificate costs more than to serve a small read. A connection
// shows the same certificate with every request, so what was proved is believed
// again for a few seconds: while the certificate is valid and the authorities
// are the same.
package certificate

import (
	stdx509 "crypto/x509"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
)

const (
	// believed is how long; it is what bounds the use of an authority that
	// expires. One that is replaced is noticed at once.
	believed = 10 * time.Second
	// connections are how many are remembered.
	connections = 512
)

// New returns an authenticator by the authorities that verify names, asked for
// afresh with every request.
func New(verify x509.VerifyOptionFunc) authenticator.Request {
	return &remembering{
		verify: verify,
		prove:  x509.NewDynamic(verify, x509.CommonNameUserConversion),
		proved: cache.NewLRUExpireCache(connections),
		now:    time.Now,
	}
}

type remembering struct {
	verify x509.VerifyOptionFunc
	prove  authenticator.Request
	proved *cache.LRUExpireCache // key → *authenticator.Response
	now    func() time.Time
}

// key is one connection's certificate under one set of authorities: both are
// the same in memory as long as they are the same.
type key struct {
	leaf  *stdx509.Certificate
	roots *stdx509.CertPool
}

func (r *remembering) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	options, ok := r.verify()
	if !ok {
		return nil, false, nil
	}
	k := key{req.TLS.PeerCertificates[0], options.Roots}
	now := r.now()
	if found, ok := r.proved.Get(k); ok && !now.Before(k.leaf.NotBefore) && !now.After(k.leaf.NotAfter) {
		// Whoever wraps this writes the audiences into the answer.
		again := *found.(*authenticator.Response)
		return &again, true, nil
	}
	response, ok, err := r.prove.AuthenticateRequest(req)
	if ok && err == nil {
		remembered := *response
		r.proved.Add(k, &remembered, believed)
	}
	return response, ok, err
}
