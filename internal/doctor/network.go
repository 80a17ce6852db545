package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNewNetwork runs try in a network namespace that ends with it. The thread is
// not given back to Go's scheduler, so nothing else ever runs in the namespace.
func inNewNetwork(try func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // without unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		result <- try()
	}()
	return <-result
}

func interfaces(context.Context, Options) Finding {
	err := inNewNetwork(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe1", MasterIndex: bridge.Index}, PeerName: "probe2"}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		return nil
	})
	if err != nil {
		return fail(err.Error(), "load the modules: modprobe bridge veth (as root)", "모듈을 불러오세요 (root): modprobe bridge veth")
	}
	return ok("bridge, veth")
}

func nftTables(context.Context, Options) Finding {
	err := inNewNetwork(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "probe"})
		chain := conn.AddChain(&nftables.Chain{Name: "probe", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Numgen{Register: 1, Modulus: 2, Type: unix.NFT_NG_RANDOM},
			&expr.Masq{},
		}})
		return conn.Flush()
	})
	if err != nil {
		return fail(err.Error(), "load the modules: modprobe nf_tables nft_chain_nat nft_masq nft_numgen (as root)", "모듈을 불러오세요 (root): modprobe nf_tables nft_chain_nat nft_masq nft_numgen")
	}
	return ok("nat, masquerade, numgen")
}

func forwarding(context.Context, Options) Finding {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return fail(err.Error(), "mount /proc", "/proc을 마운트하세요")
	}
	if strings.TrimSpace(string(data)) == "1" {
		return ok("on")
	}
	return ok("off; sinawi up turns it on")
}

func apiPort(_ context.Context, o Options) Finding { return port(o, o.APIPort, "--api-port") }

func agentPort(_ context.Context, o Options) Finding {
	if o.AgentPort == 0 {
		return ok("any free one")
	}
	return port(o, o.AgentPort, "--agent-port")
}

func port(o Options, number int, flag string) Finding {
	found := strconv.Itoa(number)
	if o.Running {
		return ok(found + ", used by this instance")
	}
	l, err := net.Listen("tcp", ":"+found)
	if err == nil {
		l.Close()
		return ok(found + ", free")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fail(found+" is in use", "stop what listens there (ss -ltnp shows it), or choose another with "+flag, "그 포트를 쓰는 프로그램을 멈추거나 (ss -ltnp로 확인) "+flag+"로 다른 포트를 고르세요")
	}
	return fail(err.Error(), "choose another with "+flag, flag+"로 다른 포트를 고르세요")
}
