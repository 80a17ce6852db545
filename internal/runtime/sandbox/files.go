package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sharedMemory is the size of a pod's /dev/shm.
const sharedMemory = 64 << 20

// makeFiles makes what the pod's containers share, where CRI looks for it.
func (c *Controller) makeFiles(p *pod) error {
	dir := c.dir(p.id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the sandbox's files: %w", err)
	}
	for _, link := range c.links(p.id) {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return fmt.Errorf("make the sandbox's files: %w", err)
		}
		if err := os.Symlink(dir, link); err != nil {
			return fmt.Errorf("make the sandbox's files: %w", err)
		}
	}
	host := p.config.GetHostname()
	if host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("make the sandbox's host name: %w", err)
		}
		host = name
	}
	hosts, err := readOptional("/etc/hosts")
	if err != nil {
		return err
	}
	resolver, err := resolverOf(p.config)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"hostname": []byte(host + "\n"), "hosts": hosts, "resolv.conf": resolver} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("make the sandbox's files: %w", err)
		}
	}
	if namespaces(p.config).GetIpc() == cri.NamespaceMode_NODE {
		return nil
	}
	shm := filepath.Join(dir, "shm")
	if err := os.MkdirAll(shm, 0o700); err != nil {
		return fmt.Errorf("make the sandbox's shared memory: %w", err)
	}
	options := fmt.Sprintf("mode=1777,size=%d", sharedMemory)
	if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("make the sandbox's shared memory: %w", err)
	}
	return nil
}

func resolverOf(config *cri.PodSandboxConfig) ([]byte, error) {
	if config.GetDnsConfig() == nil {
		return readOptional("/etc/resolv.conf")
	}
	return []byte(resolver(config.GetDnsConfig())), nil
}

// resolver is the resolv.conf that says what dns does.
func resolver(dns *cri.DNSConfig) string {
	var b strings.Builder
	line := func(keyword string, values ...string) {
		if len(values) > 0 {
			b.WriteString(keyword + " " + strings.Join(values, " ") + "\n")
		}
	}
	line("search", dns.GetSearches()...)
	for _, server := range dns.GetServers() {
		line("nameserver", server)
	}
	line("options", dns.GetOptions()...)
	return b.String()
}

// readOptional reads a file of the host that need not be there.
func readOptional(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("copy %s into the sandbox: %w", path, err)
	}
	return data, nil
}

// removeMounts unmounts the shared memory; containers that still run keep it.
func (c *Controller) removeMounts(id string) error {
	err := unix.Unmount(filepath.Join(c.dir(id), "shm"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount the sandbox's shared memory: %w", err)
	}
	return nil
}

func namespaces(config *cri.PodSandboxConfig) *cri.NamespaceOption {
	return config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}
