package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lab is a set of nodes on one bridge.
type Lab struct {
	id      string // four hex digits, in every name
	dir     string
	program string
	bridge  *netlink.Bridge
	subnet  netip.Prefix
	lock    *os.File // holds the subnet

	mu    sync.Mutex
	nodes []*Node // guarded by mu
}

// New makes a lab without nodes. dir is where the nodes' data goes; program is
// the sinawi binary to run.
func New(dir, program string) (*Lab, error) {
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw a name: %w", err)
	}
	l := &Lab{id: hex.EncodeToString(random[:]), dir: dir, program: program}
	if err := l.takeSubnet(); err != nil {
		return nil, err
	}
	if err := l.addBridge(); err != nil {
		l.lock.Close()
		return nil, err
	}
	return l, nil
}

// takeSubnet finds a /24 that no other lab on this machine uses. The lock goes
// with the process, however it ends.
func (l *Lab) takeSubnet() error {
	for i := byte(1); i < 250; i++ {
		file, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("sinawi-lab-%d.lock", i)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("take a subnet: %w", err)
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			l.lock = file
			l.subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, i, 0}), 24)
			return nil
		}
		file.Close()
	}
	return errors.New("take a subnet: all are in use by other labs")
}

// removeStale removes the bridge of a lab on this subnet that was killed before
// it could: whoever holds the subnet's lock is the only one.
func (l *Lab) removeStale() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		if link.Type() != "bridge" || !strings.HasPrefix(link.Attrs().Name, "lab") {
			continue
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addresses {
			if !a.IP.Equal(l.gateway().AsSlice()) {
				continue
			}
			if err := netlink.LinkDel(link); err != nil {
				return fmt.Errorf("remove the bridge of a lab that was killed: %w", err)
			}
		}
	}
	return nil
}

func (l *Lab) addBridge() error {
	if err := l.removeStale(); err != nil {
		return err
	}
	l.bridge = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lab" + l.id}}
	if err := netlink.LinkAdd(l.bridge); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	gateway := &netlink.Addr{IPNet: &net.IPNet{IP: l.gateway().AsSlice(), Mask: net.CIDRMask(24, 32)}}
	err := netlink.AddrAdd(l.bridge, gateway)
	if err == nil {
		err = netlink.LinkSetUp(l.bridge)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set up bridge: %w", err), netlink.LinkDel(l.bridge))
	}
	return nil
}

// gateway is the host's address on the bridge.
func (l *Lab) gateway() netip.Addr { return l.subnet.Addr().Next() }

// Close ends and removes everything of the lab.
func (l *Lab) Close(ctx context.Context) error {
	l.mu.Lock()
	nodes := l.nodes
	l.nodes = nil
	l.mu.Unlock()
	var errs []error
	for _, n := range nodes {
		errs = append(errs, n.remove(ctx))
	}
	errs = append(errs, netlink.LinkDel(l.bridge), l.lock.Close())
	return errors.Join(errs...)
}

// FindProgram returns the binary that `make build` made, from anywhere in the
// source tree.
func FindProgram() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			program := filepath.Join(dir, "bin", "sinawi")
			if _, err := os.Stat(program); err != nil {
				return "", fmt.Errorf("%s is missing: run make build first", program)
			}
			return program, nil
		}
		dir = filepath.Dir(dir)
	}
	return "", errors.New("not inside the source tree")
}
