package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullDir in the environment makes TestFillDisk write to a store there until
// the disk is full.
const fullDir = "SINAWI_TEST_FULL_DIR"

// TestFillDisk is the child of TestFullDisk: a store whose disk broke keeps its
// files until its process ends. It prints what was acknowledged.
func TestFillDisk(t *testing.T) {
	disk := os.Getenv(fullDir)
	if disk == "" {
		t.Skip("runs only as the child of TestFullDisk")
	}
	s := open(t, filepath.Join(disk, "store"))
	put := func(key string, size int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.Client().Put(ctx, key, string(bytes.Repeat([]byte("x"), size)))
		if err == nil {
			fmt.Println("acknowledged", key)
		}
		return err
	}
	for i := range 5 {
		if err := put(fmt.Sprintf("/before/%d", i), 1000); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, filepath.Join(disk, "ballast"))
	var failure error
	for i := 0; i < 400 && failure == nil; i++ {
		failure = put(fmt.Sprintf("/during/%d", i), 1<<20)
	}
	if failure == nil {
		t.Fatal("400 MB were acknowledged on a full disk")
	}
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("the store does not say that it cannot go on")
	}
	if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the store says %v, want that the disk is full", err)
	}
}

// TestFullDisk fills the disk under a store. Writes fail and the store says
// why; what was acknowledged is there when there is room again.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	// The write-ahead log takes 64 MB at a time, one ahead. What it holds when the disk is
	// full, up to 128 MB, needs as much again in the database at the next start.
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=500m"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFillDisk$", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), fullDir+"="+disk)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(disk, "store"))
	defer s.Close()
	acknowledged := 0
	for line := range strings.Lines(string(out)) {
		key, ok := strings.CutPrefix(strings.TrimSpace(line), "acknowledged ")
		if !ok {
			continue
		}
		acknowledged++
		got, err := s.Client().Get(t.Context(), key)
		if err != nil || len(got.Kvs) != 1 {
			t.Errorf("%s was acknowledged and is gone: %v", key, err)
		}
	}
	if acknowledged < 5 {
		t.Errorf("only %d writes were acknowledged:\n%s", acknowledged, out)
	}
	if _, err := s.Client().Put(t.Context(), "/after", "x"); err != nil {
		t.Errorf("write with room again: %v", err)
	}
}

// fill takes all that is left of the disk.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte{1}, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Fatal(err)
	}
}
