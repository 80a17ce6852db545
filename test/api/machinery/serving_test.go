package machinery

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// remote is a server that the API server calls: by its URL, or by its service.
type remote struct {
	url     string
	ca      []byte
	service string // in the test's namespace
	port    int32  // of the service
}

// certificate is one that signs itself, for the names.
func (c *cluster) certificate(names ...string) (tls.Certificate, []byte) {
	c.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c.ok(err)
	now := time.Now()
	about := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	c.ok(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serve runs a server behind a service until the test ends. The service has a
// port of its own and, where the machine has an address that is not its
// loopback's, an endpoint slice; else it is a name for localhost.
func (c *cluster) serve(h http.Handler) remote {
	c.Helper()
	const name = "remote"
	pair, ca := c.certificate("localhost", name+"."+c.ns+".svc")
	address := ownAddress()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	c.ok(err)
	s := httptest.NewUnstartedServer(h)
	c.ok(s.Listener.Close())
	s.Listener, s.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	c.Cleanup(s.Close)
	_, text, err := net.SplitHostPort(listener.Addr().String())
	c.ok(err)
	n, err := strconv.Atoi(text)
	c.ok(err)
	r := remote{url: s.URL, ca: ca, service: name, port: 8443}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: r.port}}},
	}
	if address == "127.0.0.1" {
		r.port = int32(n)
		service.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}
	}
	try(c.CoreV1().Services(c.ns).Create(c.ctx, service, metav1.CreateOptions{})).or(c)
	if address != "127.0.0.1" {
		r.url = "" // the certificate has no such name
		try(c.DiscoveryV1().EndpointSlices(c.ns).Create(c.ctx, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr(""), Port: ptr(int32(n))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}, metav1.CreateOptions{})).or(c)
	}
	return r
}

// serveURL runs a server that is known by its URL only.
func (c *cluster) serveURL(h http.Handler) remote {
	c.Helper()
	pair, ca := c.certificate("localhost")
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	c.Cleanup(s.Close)
	return remote{url: s.URL, ca: ca}
}

// ownAddress is an address of this machine for a server behind a service,
// which cannot be one of the loopback's where there is another.
func ownAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	for _, a := range addresses {
		if prefix, ok := a.(*net.IPNet); ok && prefix.IP.To4() != nil && !prefix.IP.IsLoopback() && !prefix.IP.IsLinkLocalUnicast() {
			return prefix.IP.String()
		}
	}
	return "127.0.0.1"
}

// answering answers a review of type R by f.
func answering[R any](f func(*R)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review := new(R)
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f(review)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
}

// converter runs a webhook that converts between the versions v1, with
// hostPort, and v2, with host and port.
func (c *cluster) converter() *apiextensionsv1.WebhookClientConfig {
	c.Helper()
	r := c.serve(answering(convert))
	return &apiextensionsv1.WebhookClientConfig{
		CABundle: r.ca,
		Service:  &apiextensionsv1.ServiceReference{Namespace: c.ns, Name: r.service, Path: ptr("/convert"), Port: ptr(r.port)},
	}
}
