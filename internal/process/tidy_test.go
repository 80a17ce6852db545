package process

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const smaps = `00400000-00500000 r-xp 00001000 fe:00 12 /opt/sinawi
Size:               1024 kB
Pss:                 512 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00101000 fe:00 12 /opt/sinawi
Anonymous:             4 kB
VmFlags: rd mr mw me
00600000-00700000 rw-p 00201000 fe:00 12 /opt/sinawi
Anonymous:             0 kB
00700000-00800000 r--p 00301000 fe:00 12 /opt/sinawi
Anonymous:             0 kB
00800000-00900000 r--p 00000000 fe:00 13 /opt/other
Anonymous:             0 kB
7f0000000000-7f0000100000 rw-p 00000000 00:00 0
Anonymous:          1024 kB
`

func TestConstantMappings(t *testing.T) {
	want := []mapping{{0x400000, 0x500000}, {0x700000, 0x800000}}
	if got := constant(strings.NewReader(smaps), "/opt/sinawi"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestReleaseProgram goes on after all of its own code was given back.
func TestReleaseProgram(t *testing.T) {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(constant(file, exe)) == 0 {
		t.Error("no mapping of the program is found")
	}
	before := Memory(os.Getpid())
	releaseProgram()
	runtime.GC()
	if after := Memory(os.Getpid()); after <= 0 {
		t.Errorf("memory is %d after %d", after, before)
	}
}

func TestTidyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Tidy(ctx) }()
	runtime.GC()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}

func TestShares(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 10 << 20: 1275, 60 << 20: 200, 61 << 20: 200, 100 << 20: 125, 127 << 20: 100, 128 << 20: 100, 4 << 30: 100,
	} {
		if got := busyShare(live); got != want {
			t.Errorf("%d MB live: got %d %%, want %d", live>>20, got, want)
		}
	}
	for live, want := range map[uint64]int{0: 50, 100 << 20: 50, 255 << 20: 50, 256 << 20: 100, 4 << 30: 100} {
		if got := quietShare(live); got != want {
			t.Errorf("%d MB live and quiet: got %d %%, want %d", live>>20, got, want)
		}
	}
	runtime.GC()
	if got := live(); got == 0 || got > 1<<30 {
		t.Errorf("%d bytes live", got)
	}
}
