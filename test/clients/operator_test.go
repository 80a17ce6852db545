package clients

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// authority is a CA that signs itself, an issuer that uses it, and a certificate of
// that issuer.
const authority = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: root}
spec:
  isCA: true
  commonName: root
  secretName: root
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: self, kind: Issuer}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: ca}
spec: {ca: {secretName: root}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: web
  dnsNames: [web.example.com]
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  issuerRef: {name: ca, kind: Issuer}
`

// TestOperator runs cert-manager's controllers, two of them, over their definitions:
// one is elected and issues certificates; when it is killed the other goes on.
func TestOperator(t *testing.T) {
	binary := program(t, "certmanager")
	c := start(t)
	crds := filepath.Join(module(t, "github.com/cert-manager/cert-manager@v1.21.2"), "deploy", "crds")
	c.Kubectl("apply", "--server-side", "-f", crds)
	c.Kubectl("wait", "--for=condition=Established", "crd/certificates.cert-manager.io", "crd/certificaterequests.cert-manager.io", "crd/issuers.cert-manager.io", "--timeout=1m")
	first := c.operator(binary, "first")
	c.leads("first")
	second := c.operator(binary, "second")

	c.Apply(authority)
	c.Kubectl("wait", "--for=condition=Ready", "certificate/root", "certificate/web", "issuer/ca", "--timeout=2m")
	c.Contains(c.Kubectl("get", "certificates"), "READY", "SECRET", "True") // the definition's own columns
	serial := c.certificate("web").SerialNumber

	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.leads("second")
	c.Kubectl("delete", "secret", "web")
	c.Eventually("a new certificate", func() string {
		_, err := c.clientset().CoreV1().Secrets("default").Get(c.Ctx, "web", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "the secret is not there"
		}
		return ""
	})
	c.Kubectl("wait", "--for=condition=Ready", "certificate/web", "--timeout=2m")
	if c.certificate("web").SerialNumber.Cmp(serial) == 0 {
		t.Error("the certificate is the same as before")
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// operator starts the controllers under a name.
func (c *cluster) operator(binary, identity string) *exec.Cmd {
	c.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--kubeconfig", c.Dir.Kubeconfig(), "--identity", identity)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.Start(cmd); err != nil {
		cancel()
		c.Fatal(err)
	}
	c.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if c.Failed() {
			c.Logf("%s wrote:\n%s", identity, out.tail(4000))
		}
	})
	return cmd
}

func (c *cluster) leads(identity string) {
	c.Helper()
	c.Eventually(identity+" leads", func() string {
		out, err := c.Node.Kubectl(c.Ctx, "get", "lease", "cert-manager-controller", "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}")
		if err == nil && strings.TrimSpace(out) == identity {
			return ""
		}
		return out
	})
}

// certificate is the certificate in a secret, which must be signed by its CA.
func (c *cluster) certificate(secret string) *x509.Certificate {
	c.Helper()
	s, err := c.clientset().CoreV1().Secrets("default").Get(c.Ctx, secret, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	if block == nil {
		c.Fatalf("secret %s has no certificate", secret)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Data["ca.crt"])
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.example.com"}); err != nil {
		c.Errorf("the certificate: %v", err)
	}
	return cert
}

func (c *cluster) clientset() *kubernetes.Clientset {
	c.Helper()
	config, err := c.Config()
	if err != nil {
		c.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.Fatal(err)
	}
	return client
}

// lockedBuffer is written by a process and read by the test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.buf.String()
	return out[max(0, len(out)-n):]
}
