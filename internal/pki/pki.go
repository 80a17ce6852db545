package pki

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Names of the authorities and keys, as files in the directory. They are
// kubeadm's, so that operators find what they know.
const (
	clusterCAName    = "ca"
	frontProxyCAName = "front-proxy-ca"
	serviceAccount   = "sa"
)

// PKI is the opened directory.
type PKI struct {
	dir string
	now func() time.Time

	// Cluster signs serving certificates and client certificates.
	Cluster *Authority
	// FrontProxy signs the client certificate with which the API server
	// speaks for its users to aggregated API servers.
	FrontProxy *Authority
	// ServiceAccountKey signs service account tokens.
	ServiceAccountKey    crypto.Signer
	ServiceAccountKeyPEM []byte
}

// Open reads the directory and makes what is missing. now is the clock that
// decides on expiry.
func Open(dir string, now func() time.Time) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	p := &PKI{dir: dir, now: now}
	var err error
	if p.Cluster, err = p.authority(clusterCAName, "sinawi-ca"); err != nil {
		return nil, err
	}
	if p.FrontProxy, err = p.authority(frontProxyCAName, "sinawi-front-proxy-ca"); err != nil {
		return nil, err
	}
	if err := p.openServiceAccountKey(); err != nil {
		return nil, err
	}
	return p, nil
}

// Path is the file of a certificate or key in the directory, for programs that
// want a file: Path("ca.crt").
func (p *PKI) Path(file string) string { return filepath.Join(p.dir, file) }

func (p *PKI) authority(name, commonName string) (*Authority, error) {
	certFile, keyFile := p.Path(name+".crt"), p.Path(name+".key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	switch {
	case certErr == nil && keyErr == nil:
		a, err := parseAuthority(certPEM, keyPEM)
		if err != nil {
			return nil, fmt.Errorf("read CA %s: %w; restore both files from a backup, or remove the data directory to start a new cluster", certFile, err)
		}
		if p.now().After(a.Cert.NotAfter) {
			return nil, fmt.Errorf("CA %s expired on %s", certFile, a.Cert.NotAfter.Format(time.DateOnly))
		}
		return a, nil
	case errors.Is(certErr, fs.ErrNotExist):
		// The certificate is written last, so a key alone is what a crash
		// between the two writes leaves: nobody can have trusted it yet.
		a, err := newAuthority(commonName, p.now())
		if err != nil {
			return nil, err
		}
		if err := writeFile(keyFile, a.keyPEM, 0o600); err != nil {
			return nil, err
		}
		if err := writeFile(certFile, a.CertPEM, 0o644); err != nil {
			return nil, err
		}
		return a, nil
	case certErr != nil:
		return nil, fmt.Errorf("read CA: %w", certErr)
	default:
		return nil, fmt.Errorf("read the key of CA %s: %w; restore it from a backup, or remove the data directory to start a new cluster", certFile, keyErr)
	}
}

// ServiceAccountKeyFile holds the key that signs service account tokens. Keys
// that signed before may follow it.
func (p *PKI) ServiceAccountKeyFile() string { return p.Path(serviceAccount + ".key") }

// RotateServiceAccountKey puts a new key before the one that signs service
// account tokens. Tokens by older keys stay good unless those are dropped.
func (p *PKI) RotateServiceAccountKey(dropOld bool) error {
	_, data, err := newKey()
	if err != nil {
		return err
	}
	if !dropOld {
		old, err := os.ReadFile(p.ServiceAccountKeyFile())
		if err != nil {
			return fmt.Errorf("service account key: %w", err)
		}
		data = append(data, old...)
	}
	return writeFile(p.ServiceAccountKeyFile(), data, 0o600)
}

func (p *PKI) openServiceAccountKey() error {
	file := p.ServiceAccountKeyFile()
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, data, err = newKey(); err != nil {
			return err
		}
		err = writeFile(file, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	if p.ServiceAccountKey, err = parseKey(data); err != nil {
		return fmt.Errorf("service account key %s: %w", file, err)
	}
	p.ServiceAccountKeyPEM = data
	return nil
}

// Ensure returns the leaf certificate called name, signed by a. It issues a new
// one when none is stored, when the stored one does not name all that req asks
// for, or when less than a third of its life is left.
func (p *PKI) Ensure(a *Authority, name string, req Request) (KeyPair, error) {
	certFile, keyFile := p.Path(name+".crt"), p.Path(name+".key")
	if pair, ok := p.stored(a, certFile, keyFile, req); ok {
		return pair, nil
	}
	pair, err := a.Issue(req, p.now())
	if err != nil {
		return KeyPair{}, err
	}
	if err := writeFile(keyFile, pair.KeyPEM, 0o600); err != nil {
		return KeyPair{}, err
	}
	if err := writeFile(certFile, pair.CertPEM, 0o644); err != nil {
		return KeyPair{}, err
	}
	return pair, nil
}

// stored reads a pair and says whether it can still be used. Anything wrong
// with it is a reason to issue a new one: leaves are cheap.
func (p *PKI) stored(a *Authority, certFile, keyFile string, req Request) (KeyPair, bool) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return KeyPair{}, false
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return KeyPair{}, false
	}
	cert, err := parseCertificate(certPEM)
	if err != nil || !a.satisfies(cert, req, p.now()) {
		return KeyPair{}, false
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return KeyPair{}, false
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return KeyPair{}, false
	}
	return KeyPair{CertPEM: certPEM, KeyPEM: keyPEM}, true
}

// writeFile replaces file as a whole and makes it durable before it returns.
func writeFile(file string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer os.Remove(tmp.Name()) // gone already when the rename succeeded
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
