package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
)

// maxSocketPath is how long a unix socket's path may be, with room for the suffix
// that containerd's second socket has.
const maxSocketPath = 107 - len(".ttrpc")

// maxShimDir is how long the directory of the shims' sockets may be: their names
// are 64 digits long.
const maxShimDir = 42

// Config says where a runtime keeps its things. Two runtimes on one machine differ
// in all of Root, State, Socket and CgroupParent.
type Config struct {
	// Root keeps images and containers; it survives a reboot.
	Root string
	// State keeps what is of this boot only: containers' bundles and namespaces.
	State string
	// Socket is where CRI is served.
	Socket string
	// CgroupParent is the cgroup below which the agent puts all pods ("/sinawi").
	// Purge removes it.
	CgroupParent string
	// CNIConfDir holds the network's configuration, written by the pod network; it
	// is watched. CNIBinDirs hold plugins besides our own; empty is fine.
	CNIConfDir string
	CNIBinDirs []string
	// RegistryConfDir holds one directory per registry host with a hosts.toml in it:
	// mirrors, certificates, plain HTTP. Empty means Root/certs.d.
	RegistryConfDir string
	// LogLevel is a logrus level; empty means warn.
	LogLevel string
	// DefaultSeccomp makes RuntimeDefault the profile of containers that name none.
	DefaultSeccomp bool
}

func (c Config) validate() error {
	for name, path := range map[string]string{
		"root": c.Root, "state": c.State, "socket": c.Socket, "CNI configuration": c.CNIConfDir,
	} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("runtime configuration: the %s path %q is not absolute", name, path)
		}
	}
	if c.Root == c.State {
		return errors.New("runtime configuration: root and state are the same directory")
	}
	if len(c.Socket) > maxSocketPath {
		return fmt.Errorf("runtime socket path %q is longer than %d characters, which the kernel does not take: choose a shorter data directory", c.Socket, maxSocketPath)
	}
	return nil
}

// ociRoot is where the OCI runtime keeps a state directory per container.
func (c Config) ociRoot() string { return filepath.Join(c.State, "oci") }

// helperDir is where the helper binary is unpacked, once per version of it.
func (c Config) helperDir() string { return filepath.Join(c.Root, "helper") }

// shimDir is where the shims' sockets are. Their paths must be short, so a long
// State moves them under /run, named by its hash.
func (c Config) shimDir() string {
	if dir := filepath.Join(c.State, "s"); len(dir) <= maxShimDir {
		return dir
	}
	sum := sha256.Sum256([]byte(c.State))
	return filepath.Join("/run/sinawi-shims", hex.EncodeToString(sum[:6]))
}

func (c Config) registryConfDir() string {
	if c.RegistryConfDir != "" {
		return c.RegistryConfDir
	}
	return filepath.Join(c.Root, "certs.d")
}
