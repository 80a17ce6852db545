// Package instance names one installation of Sinawi on a machine. Several live
// beside each other, told apart by their data directories; everything that is
// global on a machine (network interfaces, nftables tables, cgroups) carries
// the instance's name, so that each can be removed without touching another.
package instance

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

// DefaultDir is the data directory of the instance that is called plainly "sinawi".
const DefaultDir = "/var/lib/sinawi"

// Name is the name of an instance: "sinawi", or "sinawi-" and six hex digits.
type Name string

// Dir is the data directory of an instance with its layout.
type Dir string

// Open returns the cleaned, absolute data directory.
func Open(dir string) (Dir, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory %q: %w", dir, err)
	}
	return Dir(abs), nil
}

// Name derives the instance's name from where its data lies.
func (d Dir) Name() Name {
	if d == DefaultDir {
		return "sinawi"
	}
	sum := sha256.Sum256([]byte(d))
	return Name("sinawi-" + hex.EncodeToString(sum[:3]))
}

func (d Dir) join(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Kubeconfig is the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return d.join("kubeconfig") }

// PKI holds certificates and keys.
func (d Dir) PKI() string { return d.join("pki") }

// Store holds the embedded etcd's files.
func (d Dir) Store() string { return d.join("store") }

// Agent holds the pods' directories and the agent's own state.
func (d Dir) Agent() string { return d.join("agent") }

// Runtime holds images and containers.
func (d Dir) Runtime() string { return d.join("runtime") }

// Run holds what is of one run only: sockets, process ids, locks.
func (d Dir) Run() string { return d.join("run") }

// Logs holds the logs of Sinawi's own processes and of pods.
func (d Dir) Logs() string { return d.join("logs") }

// Decisions holds what the scheduler decided, and why.
func (d Dir) Decisions() string { return d.join("logs", "decisions") }

// RuntimeSocket is where the container runtime serves CRI.
func (d Dir) RuntimeSocket() string { return d.join("run", "runtime.sock") }

// Record is the file that remembers what the cluster was set up with.
func (d Dir) Record() string { return d.join("cluster.json") }

// ServerLock is held by the server for as long as it runs.
func (d Dir) ServerLock() string { return d.join("run", "server.lock") }

// ServerProcess remembers the server's process.
func (d Dir) ServerProcess() string { return d.join("run", "server.process") }

// RuntimeProcess remembers the container runtime's process.
func (d Dir) RuntimeProcess() string { return d.join("run", "runtime.process") }

// ServerLog is where a detached server logs.
func (d Dir) ServerLog() string { return d.join("logs", "server.log") }

// RuntimeLog is where the container runtime logs.
func (d Dir) RuntimeLog() string { return d.join("logs", "runtime.log") }
