package process

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogSince(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if n := LogSize(file); n != 0 {
		t.Errorf("size of no log: got %d", n)
	}
	if err := os.WriteFile(file, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	from := LogSize(file)
	if err := os.WriteFile(file, []byte("before\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{from: "after\n", 0: "before\nafter\n", 1000: ""} {
		if got := LogSince(file, at); got != want {
			t.Errorf("since %d: got %q, want %q", at, got, want)
		}
	}
}

func TestMemory(t *testing.T) {
	if Memory(os.Getpid()) <= 0 {
		t.Error("this process takes no memory")
	}
	if got := Memory(-1); got != 0 {
		t.Errorf("memory of no process: got %d", got)
	}
}
