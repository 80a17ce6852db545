package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/pki"
)

// kubeconfig returns the file that makes a client an administrator.
func kubeconfig(name, server string, ca []byte, admin pki.KeyPair) ([]byte, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	cfg.AuthInfos[name+"-admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: admin.CertPEM, ClientKeyData: admin.KeyPEM}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name + "-admin"}
	cfg.CurrentContext = name
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return data, nil
}

// writeKubeconfig writes the instance's kubeconfig and, for root, a copy at
// kubectl's usual place where none is there yet.
func writeKubeconfig(dir instance.Dir, data []byte) error {
	if err := replaceFile(dir.Kubeconfig(), data); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	usual, ok := usualKubeconfig()
	if !ok {
		return nil
	}
	if old, err := os.ReadFile(usual); err == nil && !ours(dir, old) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(usual), 0o700); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := replaceFile(usual, data); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// usualKubeconfig is where kubectl looks, for root only: another user's home is
// not ours to write to.
func usualKubeconfig() (string, bool) {
	if os.Geteuid() != 0 || clientcmd.RecommendedHomeFile == "" {
		return "", false
	}
	return clientcmd.RecommendedHomeFile, true
}

// ours reports whether a kubeconfig was written for this instance: it names the
// instance's own CA.
func ours(dir instance.Dir, data []byte) bool {
	cfg, err := clientcmd.Load(data)
	if err != nil {
		return false
	}
	ca, err := os.ReadFile(filepath.Join(dir.PKI(), "ca.crt"))
	if err != nil {
		return false
	}
	c := cfg.Clusters[string(dir.Name())]
	return c != nil && bytes.Equal(c.CertificateAuthorityData, ca)
}

// removeKubeconfig removes the copy at the usual place, if it is this
// instance's.
func removeKubeconfig(dir instance.Dir) error {
	usual, ok := usualKubeconfig()
	if !ok {
		return nil
	}
	data, err := os.ReadFile(usual)
	if err != nil || !ours(dir, data) {
		return nil
	}
	return os.Remove(usual)
}

// replaceFile writes a private file whole or not at all.
func replaceFile(file string, data []byte) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
