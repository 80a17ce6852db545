package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const killEnv = "SINAWI_IPAM_KILL"

// TestMain serves as the process that TestKilledAllocatorsLoseNothing kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		pool := Open(dir, netip.MustParsePrefix("10.42.0.0/24"), "boot")
		for i := 0; ; i++ {
			o := Owner{Container: fmt.Sprintf("%d-%d", os.Getpid(), i), Interface: "eth0"}
			if _, err := pool.Allocate(Lease{Owner: o}); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			if err := pool.Release(o); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			if i == 0 {
				fmt.Println("running")
			}
		}
	}
	os.Exit(m.Run())
}

func owner(i int) Owner { return Owner{Container: fmt.Sprint("c", i), Interface: "eth0"} }

func TestParallelAllocationsDiffer(t *testing.T) {
	pool := Open(t.TempDir(), netip.MustParsePrefix("10.42.7.0/24"), "boot")
	var mu sync.Mutex
	seen := map[netip.Addr]int{}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			l, err := pool.Allocate(Lease{Owner: owner(i)})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, dup := seen[l.Addr]; dup {
				t.Errorf("%s leased to %d and %d", l.Addr, i, other)
			}
			seen[l.Addr] = i
		})
	}
	wg.Wait()
	if len(seen) != 100 {
		t.Errorf("%d addresses leased, want 100", len(seen))
	}
}

func TestKilledAllocatorsLoseNothing(t *testing.T) {
	dir := t.TempDir()
	for range 10 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		if n, err := out.Read(buf); err != nil || string(buf[:n]) != "running\n" {
			t.Fatalf("child says %q, %v", buf[:n], err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	pool := Open(dir, netip.MustParsePrefix("10.42.0.0/24"), "boot")
	leases, err := pool.Leases()
	if err != nil {
		t.Fatal("a killed process left an unreadable file:", err)
	}
	if len(leases) > 10 {
		t.Errorf("%d leases left by 10 processes, want at most one each", len(leases))
	}
	if _, err := pool.Allocate(Lease{Owner: owner(1)}); err != nil {
		t.Fatal("the lock outlived its holder:", err)
	}
}

func TestPoolRunsDryAndRecovers(t *testing.T) {
	dir := t.TempDir()
	pool := Open(dir, netip.MustParsePrefix("10.42.0.0/29"), "boot")
	gone := filepath.Join(dir, "gone")
	for i := range 5 { // .2 to .6
		if _, err := pool.Allocate(Lease{Owner: owner(i), Netns: dir}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Allocate(Lease{Owner: owner(9), Netns: dir}); !errors.Is(err, ErrExhausted) {
		t.Fatalf("got %v, want %v", err, ErrExhausted)
	}
	if err := pool.Release(owner(3)); err != nil {
		t.Fatal(err)
	}
	l, err := pool.Allocate(Lease{Owner: owner(10), Netns: gone})
	if err != nil || l.Addr.String() != "10.42.0.5" {
		t.Fatalf("got %v, %v, want the released 10.42.0.5", l.Addr, err)
	}
	l, err = pool.Allocate(Lease{Owner: owner(11), Netns: dir})
	if err != nil || l.Addr.String() != "10.42.0.5" {
		t.Fatalf("got %v, %v, want 10.42.0.5 of the namespace that is gone", l.Addr, err)
	}
}

func TestRebootEndsLeases(t *testing.T) {
	dir, prefix := t.TempDir(), netip.MustParsePrefix("10.42.0.0/24")
	if _, err := Open(dir, prefix, "one").Allocate(Lease{Owner: owner(1)}); err != nil {
		t.Fatal(err)
	}
	pool := Open(dir, prefix, "two")
	if err := pool.Prune(); err != nil {
		t.Fatal(err)
	}
	if leases, err := pool.Leases(); err != nil || len(leases) != 0 {
		t.Errorf("got %v, %v, want none after a reboot", leases, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "leases-one*")); len(files) != 0 {
		t.Errorf("%v of an earlier boot remain", files)
	}
}

// TestHistories compares the pool with a map under random histories.
func TestHistories(t *testing.T) {
	prefix := netip.MustParsePrefix("10.42.0.0/28")
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		pool := Open(dir, prefix, fmt.Sprint(run))
		want := map[Owner]netip.Addr{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			o := owner(rapid.IntRange(0, 15).Draw(t, "owner"))
			if rapid.Bool().Draw(t, "release") {
				if err := pool.Release(o); err != nil {
					t.Fatal(err)
				}
				delete(want, o)
				continue
			}
			l, err := pool.Allocate(Lease{Owner: o})
			if errors.Is(err, ErrExhausted) && len(want) == 13 {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if old, ok := want[o]; ok && old != l.Addr {
				t.Fatalf("%v had %s and got %s", o, old, l.Addr)
			}
			want[o] = l.Addr
		}
		leases, err := pool.Leases()
		if err != nil {
			t.Fatal(err)
		}
		got, seen := map[Owner]netip.Addr{}, map[netip.Addr]bool{}
		for _, l := range leases {
			got[l.Owner] = l.Addr
			if seen[l.Addr] || !prefix.Contains(l.Addr) || l.Addr == Gateway(prefix) {
				t.Fatalf("address %s is leased twice or reserved", l.Addr)
			}
			seen[l.Addr] = true
		}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Fatal(d)
		}
	})
}
