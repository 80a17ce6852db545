package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"
	for _, tt := range []struct {
		name, stat string
		want       uint64
		fails      bool
	}{
		{"plain", "17 (sleep) S" + tail, 4242, false},
		{"parentheses and blanks in the name", "17 (a) b (c) S" + tail, 4242, false},
		{"ended, not reaped", "17 (sleep) Z" + tail, 0, true},
		{"cut short", "17 (sleep) S 1 2", 0, true},
		{"empty", "", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.stat)
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("17 (sleep) S 1 2 3")
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseStat(s) })
}

func TestStartFindStop(t *testing.T) {
	dir := t.TempDir()
	p, done, err := Start(filepath.Join(dir, "log"), nil, "/bin/sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "sleep.json")
	if err := Remember(file, p); err != nil {
		t.Fatal(err)
	}
	found, err := Find(file)
	if err != nil || found != p {
		t.Fatalf("found %v, %v, want %v", found, err, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := found.Stop(ctx, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	<-done
	if _, err := Find(file); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v, want ErrNotRunning", err)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	p, done, err := Start(filepath.Join(t.TempDir(), "log"), nil, "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // let the shell set its trap; killing it sooner is as good
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.Stop(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestWaitEndsWithContext(t *testing.T) {
	p, done, err := Start(filepath.Join(t.TempDir(), "log"), nil, "/bin/sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if err := p.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	<-done
}

// A file that survived a reboot, or whose pid another program has now, names
// nobody.
func TestFindStranger(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Process{
		"pid used again": {PID: self.PID, Began: self.Began + 1, Boot: self.Boot},
		"another boot":   {PID: self.PID, Began: self.Began, Boot: "other"},
	} {
		file := filepath.Join(t.TempDir(), "p.json")
		if err := Remember(file, p); err != nil {
			t.Fatal(err)
		}
		if _, err := Find(file); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v, want ErrNotRunning", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "cut.json")
	if err := os.WriteFile(file, []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(file); !errors.Is(err, ErrNotRunning) {
		t.Errorf("file cut short: %v, want ErrNotRunning", err)
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(file); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v, want ErrLocked", err)
	}
	first.Close()
	second, err := Lock(file)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	second.Close()
}
