// Package ipam hands out the pod addresses of one node. The leases lie in one
// file, changed only under a file lock and replaced by renaming, so that any
// number of plugin processes may allocate at once and one killed at any moment
// leaves either the old leases or the new. The file carries the boot's id in its
// name: no pod outlives a reboot, so neither does a lease.
//
// A pool that runs dry first takes back the leases of network namespaces that
// are gone. The package never touches the network itself.
package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Owner is who holds a lease: one interface of one container.
type Owner struct {
	Container string `json:"container"`
	Interface string `json:"interface"`
}

// Lease is one address in use.
type Lease struct {
	Owner
	Addr netip.Addr `json:"addr"`
	// Netns is the path of the network namespace; when it is gone the lease may be taken back.
	Netns string `json:"netns,omitempty"`
	// Ports are the host ports that lead to the address.
	Ports []HostPort `json:"ports,omitempty"`
}

// HostPort is a port of the node that leads to a port of the pod.
type HostPort struct {
	// HostIP limits it to one address of the node; none or 0.0.0.0 means all.
	HostIP   netip.Addr `json:"hostIP,omitzero"`
	HostPort uint16     `json:"hostPort"`
	Port     uint16     `json:"containerPort"`
	Protocol string     `json:"protocol"`
}

// Pool are the leases of one prefix in one directory.
type Pool struct {
	dir    string
	prefix netip.Prefix
	boot   string
}

// ErrExhausted says that every address is leased.
var ErrExhausted = errors.New("no free pod address")

// Gateway is the address of a node's prefix that the node itself holds.
func Gateway(prefix netip.Prefix) netip.Addr { return prefix.Masked().Addr().Next() }

// BootID reads the id of the running boot.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// Open returns the pool of a prefix; the directory is made when first needed.
func Open(dir string, prefix netip.Prefix, boot string) *Pool {
	return &Pool{dir: dir, prefix: prefix.Masked(), boot: boot}
}

// state is the file's content.
type state struct {
	// Last is the address leased last: the search goes on behind it, so that
	// an address rests as long as possible before it is used again.
	Last   netip.Addr `json:"last,omitzero"`
	Leases []Lease    `json:"leases"`
}

// Allocate leases a free address to want's owner; an owner that has one keeps it.
func (p *Pool) Allocate(want Lease) (Lease, error) {
	var got Lease
	err := p.change(func(s *state) (bool, error) {
		if i := s.find(want.Owner); i >= 0 {
			s.Leases[i].Netns, s.Leases[i].Ports = want.Netns, want.Ports
			got = s.Leases[i]
			return true, nil
		}
		addr, ok := s.free(p.prefix)
		if !ok {
			s.dropGone()
			if addr, ok = s.free(p.prefix); !ok {
				return false, fmt.Errorf("%w in %s: %d leased", ErrExhausted, p.prefix, len(s.Leases))
			}
		}
		want.Addr = addr
		s.Last, got = addr, want
		s.Leases = append(s.Leases, want)
		return true, nil
	})
	return got, err
}

// Find returns an owner's lease.
func (p *Pool) Find(o Owner) (Lease, bool, error) {
	leases, err := p.Leases()
	if err != nil {
		return Lease{}, false, err
	}
	s := state{Leases: leases}
	if i := s.find(o); i >= 0 {
		return leases[i], true, nil
	}
	return Lease{}, false, nil
}

// Release ends an owner's lease; an owner without one is no error.
func (p *Pool) Release(o Owner) error {
	return p.change(func(s *state) (bool, error) {
		i := s.find(o)
		if i < 0 {
			return false, nil
		}
		s.Leases = append(s.Leases[:i], s.Leases[i+1:]...)
		return true, nil
	})
}

// Leases lists what is leased.
func (p *Pool) Leases() ([]Lease, error) {
	s, err := p.read()
	return s.Leases, err
}

// Free counts the addresses that a next Allocate could lease.
func (p *Pool) Free() (int, error) {
	s, err := p.read()
	if err != nil {
		return 0, err
	}
	return hosts(p.prefix) - len(s.Leases), nil
}

// hosts is the number of addresses for pods: all but network, gateway and broadcast.
func hosts(p netip.Prefix) int { return 1<<(p.Addr().BitLen()-p.Bits()) - 3 }

func (s *state) find(o Owner) int {
	for i := range s.Leases {
		if s.Leases[i].Owner == o {
			return i
		}
	}
	return -1
}

// free finds an address that is neither leased nor reserved, behind the last one.
func (s *state) free(prefix netip.Prefix) (netip.Addr, bool) {
	used := make(map[netip.Addr]bool, len(s.Leases))
	for _, l := range s.Leases {
		used[l.Addr] = true
	}
	first := Gateway(prefix).Next()
	addr := first
	if s.Last.IsValid() && prefix.Contains(s.Last) && !s.Last.Less(first) {
		addr = s.Last.Next()
	}
	for range hosts(prefix) + 2 {
		if !prefix.Contains(addr) || !prefix.Contains(addr.Next()) { // the broadcast address, or beyond it
			addr = first
		}
		if !used[addr] {
			return addr, prefix.Contains(addr) && prefix.Contains(addr.Next())
		}
		addr = addr.Next()
	}
	return netip.Addr{}, false
}

// dropGone takes back the leases of namespaces that no longer exist.
func (s *state) dropGone() {
	kept := s.Leases[:0]
	for _, l := range s.Leases {
		if _, err := os.Stat(l.Netns); l.Netns != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		kept = append(kept, l)
	}
	s.Leases = kept
}

func (p *Pool) file() string { return filepath.Join(p.dir, "leases-"+p.boot+".json") }

// read needs no lock: the file is only ever replaced whole.
func (p *Pool) read() (state, error) {
	var s state
	data, err := os.ReadFile(p.file())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read pod address leases: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read pod address leases in %s: %w", p.file(), err)
	}
	return s, nil
}

// change runs f on the leases under the lock and keeps the result if f says so.
func (p *Pool) change(f func(*state) (bool, error)) error {
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := p.read()
	if err != nil {
		return err
	}
	keep, err := f(&s)
	if err != nil || !keep {
		return err
	}
	return p.write(s)
}

// write replaces the file. It is not synced to disk: a crash of the machine
// ends the boot and with it every lease.
func (p *Pool) write(s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := filepath.Join(p.dir, "next")
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("write pod address leases: %w", err)
	}
	if err := os.Rename(next, p.file()); err != nil {
		return fmt.Errorf("write pod address leases: %w", err)
	}
	return nil
}

// lock takes the directory's lock; the kernel frees it when a holder dies.
// Whoever started the plugin bounds the wait by ending the process.
func (p *Pool) lock() (unlock func(), err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create lease directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lease lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock pod address leases: %w", err)
	}
	return func() { f.Close() }, nil
}

// Prune removes the files of earlier boots.
func (p *Pool) Prune() error {
	old, err := filepath.Glob(filepath.Join(p.dir, "leases-*.json"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if f == p.file() {
			continue
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove leases of an earlier boot: %w", err)
		}
	}
	return nil
}
