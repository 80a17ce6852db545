package labtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sinawi/sinawi/lab"
)

// Kubectl is the kubectl that is installed on this machine or, where there is none,
// the one that is built in, with a home and a configuration of its own.
type Kubectl struct {
	// Dir is its home, in which its commands run.
	Dir string

	program string
	first   []string // arguments that come before all others
}

// NewKubectl returns a kubectl for a server, to which it comes with the certificate in
// server names, in a namespace.
func NewKubectl(t testing.TB, server *rest.Config, namespace string) *Kubectl {
	t.Helper()
	k := &Kubectl{Dir: t.TempDir()}
	var err error
	if k.program, err = exec.LookPath("kubectl"); err != nil {
		if k.program, err = lab.FindProgram(); err != nil {
			t.Fatal(err)
		}
		k.first = []string{"kubectl"}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.Host, CertificateAuthorityData: server.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: server.CertData, ClientKeyData: server.KeyData}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: namespace}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, k.config()); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *Kubectl) config() string { return filepath.Join(k.Dir, "config") }

// Command is a command that is not started yet and ends with ctx.
func (k *Kubectl) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.program, slices.Concat(k.first, args)...)
	cmd.Dir = k.Dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.config(), "HOME="+k.Dir, "KUBECACHEDIR="+filepath.Join(k.Dir, "cache"))
	return cmd
}
