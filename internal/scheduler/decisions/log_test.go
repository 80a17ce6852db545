package decisions

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics"
)

func open(t testing.TB, dir string, opts Options) *Log {
	t.Helper()
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run writes what was put, and returns when it is written.
func run(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	l.file = nil
}

func of(t testing.TB, dir, pod string) []Decision {
	t.Helper()
	got, err := Of(dir, "ns", pod)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func decision(i int) Decision {
	return Decision{Time: time.Unix(int64(i), 0).UTC(), Namespace: "ns", Pod: fmt.Sprintf("p-%d", i), UID: "u", Node: "n1", Feasible: 2, Score: 80.5, RunnerUp: 70}
}

func TestWhatIsPutIsRead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for i := range 10 {
		l.Put(decision(i))
	}
	again := decision(3)
	again.Node, again.Why, again.Reasons = "", "no room", []Reason{{Rule: "NodeResourcesFit", Reason: "Insufficient cpu", Nodes: 1, Such: []string{"n1"}}}
	l.Put(again)
	other := decision(3)
	other.Namespace = "other"
	l.Put(other)
	run(t, l)
	got := of(t, dir, "p-3")
	if len(got) != 2 || got[0].Node != "n1" || got[0].RunnerUp != 70 || got[1].Why != "no room" || got[1].Reasons[0].Such[0] != "n1" {
		t.Errorf("got %+v", got)
	}
	if none := of(t, t.TempDir(), "p-3"); len(none) != 0 {
		t.Errorf("got %+v from nowhere", none)
	}
}

func TestTheOldestFileGoes(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Files: 3, FileSize: 1000})
	for i := range 100 {
		l.Put(decision(i))
		if err := l.write(); err != nil {
			t.Fatal(err)
		}
	}
	run(t, l)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files: %v %v, want three", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1500 {
			t.Errorf("%s has %d bytes, want about 1000 (%v)", f, info.Size(), err)
		}
	}
	if got := of(t, dir, "p-99"); len(got) != 1 {
		t.Errorf("the newest: %+v", got)
	}
	if got := of(t, dir, "p-0"); len(got) != 0 {
		t.Errorf("the oldest is still there: %+v", got)
	}
}

func TestATornLineIsSkipped(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.Put(decision(1))
	l.Put(decision(2))
	run(t, l)
	file := path(dir, 0)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range data {
		if err := os.WriteFile(file, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		of(t, dir, "p-1")
		l := open(t, dir, Options{})
		l.Put(decision(3))
		run(t, l)
		if got := of(t, dir, "p-3"); len(got) != 1 {
			t.Fatalf("cut at %d: what was written afterwards reads %+v", cut, got)
		}
	}
}

func TestPutNeverWaits(t *testing.T) {
	registry := metrics.NewKubeRegistry()
	l := open(t, t.TempDir(), Options{Pending: 5, Register: registry.Register})
	for i := range 8 { // nobody writes
		l.Put(decision(i))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "scheduler_decisions_dropped_total" && f.Metric[0].Counter.GetValue() == 3 {
			return
		}
	}
	t.Errorf("three were dropped; metrics: %v", families)
}

// A process that is killed while it writes leaves a log that is read, and that
// the next one appends to.
func TestKilledWhileWriting(t *testing.T) {
	const variable = "DECISIONS_TEST_DIR"
	if dir := os.Getenv(variable); dir != "" {
		l := open(t, dir, Options{FileSize: 1 << 16})
		go func() {
			for i := 0; ; i++ {
				l.Put(Decision{Namespace: "ns", Pod: "p", UID: fmt.Sprint(i), Why: strings.Repeat("x", i%500)})
				if i%1000 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		if err := l.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=TestKilledWhileWriting")
	cmd.Env = append(os.Environ(), variable+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); len(of(t, dir, "p")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing is written")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	l := open(t, dir, Options{})
	l.Put(Decision{Namespace: "ns", Pod: "p", UID: "after"})
	run(t, l)
	got := of(t, dir, "p")
	if len(got) < 2 || got[len(got)-1].UID != "after" {
		t.Errorf("%d decisions after the crash, the last %+v", len(got), got[len(got)-1])
	}
}

func BenchmarkWrite(b *testing.B) {
	l := open(b, b.TempDir(), Options{Pending: 1 << 30})
	for i := range b.N {
		l.Put(decision(i))
		if i%300 == 299 {
			if err := l.write(); err != nil {
				b.Fatal(err)
			}
		}
	}
	run(b, l)
}
