package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t *testing.T, dir string, now time.Time) *PKI {
	t.Helper()
	p, err := Open(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir, start), open(t, dir, start.Add(24*time.Hour))
	if !bytes.Equal(first.Cluster.CertPEM, second.Cluster.CertPEM) ||
		!bytes.Equal(first.FrontProxy.CertPEM, second.FrontProxy.CertPEM) ||
		!bytes.Equal(first.ServiceAccountKeyPEM, second.ServiceAccountKeyPEM) {
		t.Error("opening the directory again changed a CA or the service account key")
	}
}

func TestKeysArePrivate(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, start)
	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(keys) != 3 {
		t.Fatalf("got keys %v, error %v, want three", keys, err)
	}
	for _, k := range keys {
		info, err := os.Stat(k)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", filepath.Base(k), info.Mode().Perm())
		}
	}
}

func TestEnsure(t *testing.T) {
	base := Request{CommonName: "kube-apiserver", DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}
	moreIPs, client := base, base
	moreIPs.IPs = append([]net.IP{net.IPv4(10, 43, 0, 1)}, base.IPs...)
	client.Client = true
	for _, tt := range []struct {
		name   string
		req    Request
		later  time.Duration
		reused bool
	}{
		{"same request", base, time.Hour, true},
		{"new address", moreIPs, time.Hour, false},
		{"new usage", client, time.Hour, false},
		{"two thirds of its life over", base, 250 * 24 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			p := open(t, dir, start)
			first, err := p.Ensure(p.Cluster, "apiserver", base)
			if err != nil {
				t.Fatal(err)
			}
			p = open(t, dir, start.Add(tt.later))
			second, err := p.Ensure(p.Cluster, "apiserver", tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Equal(first.CertPEM, second.CertPEM); got != tt.reused {
				t.Errorf("reused = %v, want %v", got, tt.reused)
			}
			verify(t, p, second, tt.req, start.Add(tt.later))
		})
	}
}

func verify(t *testing.T, p *PKI, pair KeyPair, req Request, now time.Time) {
	t.Helper()
	if _, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM); err != nil {
		t.Fatal(err)
	}
	cert, err := pair.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.Cluster.Cert)
	for _, ip := range req.IPs {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: ip.String(), Roots: roots, CurrentTime: now}); err != nil {
			t.Errorf("verify %s: %v", ip, err)
		}
	}
}

func TestOpenDamaged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"CA key lost", func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, "restore it from a backup"},
		{"CA certificate cut short", func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) }, "no PEM certificate"},
		{"key of another CA", func(dir string) error {
			return os.Rename(filepath.Join(dir, "front-proxy-ca.key"), filepath.Join(dir, "ca.key"))
		}, "does not belong"},
		{"service account key cut short", func(dir string) error { return os.WriteFile(filepath.Join(dir, "sa.key"), nil, 0o600) }, "sa.key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, start)
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, func() time.Time { return start })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A crash between the two writes leaves the key alone; the next start goes on.
func TestOpenAfterCrashBetweenKeyAndCertificate(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, start)
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	open(t, dir, start)
}

func FuzzParse(f *testing.F) {
	_, keyPEM, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(keyPEM)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseKey(data)
		_, _ = parseCertificate(data)
		_, _ = parseAuthority(data, data)
	})
}
