package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sinawi/sinawi/internal/store"
)

// killDir in the environment makes TestWriteUntilKilled write to a store there.
const killDir = "SINAWI_TEST_KILL_DIR"

const killWriters = 64

// TestWriteUntilKilled is the child of TestKilledStore. It prints what was
// acknowledged.
func TestWriteUntilKilled(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("runs only as the child of TestKilledStore")
	}
	s := open(t, dir)
	var out sync.Mutex
	var group sync.WaitGroup
	for w := range killWriters {
		group.Go(func() {
			for i := 0; t.Context().Err() == nil; i++ {
				key := fmt.Sprintf("/k/%d/%d", w, i)
				put, err := s.Client().Put(t.Context(), key, strings.Repeat("v", 1+i%300))
				if err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Println("acknowledged", key, put.Header.Revision)
				out.Unlock()
			}
		})
	}
	group.Wait() // the parent kills
}

// TestKilledStore kills a store while many write to it, at moments all around
// the snapshots of its log, and opens it again: all that was acknowledged is
// there, and the member elects itself though it has much to apply.
func TestKilledStore(t *testing.T) {
	dir := t.TempDir()
	// Snapshots come after every 500 entries, compactions of the log in memory
	// after every 100. The kills add up to many more.
	for _, after := range []int{40, 130, 480, 520, 700, 1100} {
		revisions := writeAndKill(t, dir, after)
		s := open(t, dir)
		got, err := s.Client().Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		there := make(map[string]int64, len(got.Kvs))
		for _, kv := range got.Kvs {
			there[string(kv.Key)] = kv.ModRevision
		}
		for key, revision := range revisions {
			// The children write the same keys: a later one may have gone further.
			if there[key] < revision {
				t.Errorf("killed after %d writes: %s was acknowledged at revision %d and is at %d", after, key, revision, there[key])
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeAndKill runs a child until it has acknowledged n writes, kills it, and
// returns all that it acknowledged.
func writeAndKill(t *testing.T, dir string, n int) map[string]int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriteUntilKilled$", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var key string
		var revision int64
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %s %d", &key, &revision); err != nil {
			t.Logf("child: %s", lines.Text())
			continue
		}
		out[key] = revision
		if len(out) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // says that it was killed
	if len(out) < n {
		t.Fatalf("the child ended after %d writes", len(out))
	}
	return out
}

// TestReopenCompacted opens a store again and again at every number of entries
// around the compaction of its log in memory.
func TestReopenCompacted(t *testing.T) {
	dir := t.TempDir()
	written := 0
	for _, n := range []int{90, 20, 1, 380, 30, 600, 1} {
		s := open(t, dir)
		for range n {
			if _, err := s.Client().Put(t.Context(), fmt.Sprintf("/k/%d", written), "v"); err != nil {
				t.Fatal(err)
			}
			written++
		}
		if _, err := s.Client().Compact(t.Context(), revision(t, s)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	defer s.Close()
	got, err := s.Client().Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if got.Count != int64(written) {
		t.Errorf("%d keys of %d are there", got.Count, written)
	}
}

func revision(t *testing.T, s *store.Store) int64 {
	t.Helper()
	got, err := s.Client().Get(context.Background(), "/")
	if err != nil {
		t.Fatal(err)
	}
	return got.Header.Revision
}
