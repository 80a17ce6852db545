package certificate

import (
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/sinawi/sinawi/internal/pki"
)

// counting counts what is proved afresh.
type counting struct {
	authenticator.Request
	times int
}

func (c *counting) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	c.times++
	return c.Request.AuthenticateRequest(req)
}

func parse(t *testing.T, data []byte) *stdx509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	c, err := stdx509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRemembers(t *testing.T) {
	keys, err := pki.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := keys.Cluster.Issue(pki.Request{CommonName: "ann", Organizations: []string{"dev"}, Client: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := func(pem []byte) *stdx509.CertPool {
		p := stdx509.NewCertPool()
		p.AppendCertsFromPEM(pem)
		return p
	}
	roots := pool(keys.Cluster.CertPEM)
	a := New(func() (stdx509.VerifyOptions, bool) {
		return stdx509.VerifyOptions{Roots: roots, KeyUsages: []stdx509.ExtKeyUsage{stdx509.ExtKeyUsageClientAuth}}, true
	}).(*remembering)
	proof := &counting{Request: a.prove}
	a.prove = proof
	now := time.Now()
	a.now = func() time.Time { return now }

	connection := &tls.ConnectionState{PeerCertificates: []*stdx509.Certificate{parse(t, pair.CertPEM)}}
	for _, step := range []struct {
		what       string
		before     func()
		proved     bool
		timesAfter int
	}{
		{"the first request", func() {}, true, 1},
		{"the second", func() {}, true, 1},
		{"another connection", func() {
			connection = &tls.ConnectionState{PeerCertificates: []*stdx509.Certificate{parse(t, pair.CertPEM)}}
		}, true, 2},
		{"another authority", func() { roots = pool(keys.FrontProxy.CertPEM) }, false, 3},
		{"still refused", func() {}, false, 4},
		{"the first authority, read again", func() { roots = pool(keys.Cluster.CertPEM) }, true, 5},
		{"after the certificate's end it is proved again", func() {
			now = connection.PeerCertificates[0].NotAfter.Add(time.Second)
		}, true, 6}, // upstream's own clock says that it is valid
	} {
		step.before()
		got, ok, err := a.AuthenticateRequest(&http.Request{TLS: connection})
		if ok != step.proved || proof.times != step.timesAfter {
			t.Fatalf("%s: proved %v (%v), %d times; want %v, %d times", step.what, ok, err, proof.times, step.proved, step.timesAfter)
		}
		if ok && (got.User.GetName() != "ann" || !slices.Equal(got.User.GetGroups(), []string{"dev"})) {
			t.Errorf("%s: got user %v", step.what, got.User)
		}
	}
	if _, ok, err := a.AuthenticateRequest(&http.Request{}); ok || err != nil {
		t.Errorf("without a certificate: %v, %v", ok, err)
	}
}
