package process

import (
	"bufio"
	"context"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A process is busy while it collects garbage more often than this.
	busy = 2 * time.Second
	// quiet is how long it must not have been busy before it is tidied.
	quiet = 4 * time.Second
	// thrifty is the share of garbage that a quiet process keeps, in percent of
	// what lives. A busy one has Go's own share: collecting twice as often would
	// cost it as much as its work.
	thrifty = 50
	normal  = 100
	// large is from where on a quiet process has Go's own share too: looking through
	// so much twice as often takes a part of a processor from who is quiet because
	// what there is to do comes evenly, as the heartbeats of thousands of nodes do.
	large = 256 << 20
	// room is how much garbage a busy process may keep however little lives: with
	// Go's share a fifth of a small server's work was collecting.
	room = 128 << 20
)

// Tidy keeps this process small while it has little to do: each time it has
// become quiet, what it does not use is given back to the machine. It returns
// when ctx ends. A set GOGC is left as it is.
func Tidy(ctx context.Context) error {
	tune := os.Getenv("GOGC") == ""
	cycles := make(chan struct{}, 1)
	after(cycles)
	last, share := time.Now(), 0
	set := func(percent int) {
		if tune && percent != share {
			debug.SetGCPercent(percent)
			share = percent
		}
	}
	due := time.NewTimer(quiet) // a start is work
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cycles:
			after(cycles)
			now := time.Now()
			if now.Sub(last) < busy {
				set(busyShare(live()))
				due.Reset(quiet)
			}
			last = now
		case <-due.C:
			set(quietShare(live()))
			debug.FreeOSMemory()
			releaseProgram()
			last = time.Now().Add(-busy) // that collection was not work
		}
	}
}

// busyShare is the share of garbage for a busy process of which so many bytes
// live, in steps, since each new share stops the process for a moment.
func busyShare(live uint64) int {
	const step = 25
	if live == 0 || live >= room {
		return normal
	}
	return max(normal, int(room*100/live)/step*step)
}

// quietShare is the share of garbage for a quiet process of which so many bytes live.
func quietShare(live uint64) int {
	if live >= large {
		return normal
	}
	return thrifty
}

// live is how many bytes the last collection found to live.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// after sends when garbage was collected next.
func after(cycles chan<- struct{}) {
	sentinel := new([16]byte)
	runtime.AddCleanup(sentinel, func(cycles chan<- struct{}) {
		select {
		case cycles <- struct{}{}:
		default:
		}
	}, cycles)
}

// releaseProgram unmaps the pages of the program's own file: what a start needs
// is many times what work needs. What is used again is mapped again, from the
// page cache. It is a favour only: nothing depends on it.
func releaseProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer file.Close()
	for _, m := range constant(file, exe) {
		// Addresses of the program's own text, not of Go's memory.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

type mapping struct{ start, end uintptr }

// constant returns the mappings of a file, out of the kernel's smaps, that hold
// nothing but what is in the file.
func constant(smaps io.Reader, file string) []mapping {
	var out []mapping
	var current *mapping
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") {
			current = nil
			if len(fields) == 6 && fields[5] == file && (fields[1] == "r-xp" || fields[1] == "r--p") {
				current = parseRange(fields[0])
			}
			continue
		}
		// Pages that were written are anonymous.
		if current != nil && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" {
			out = append(out, *current)
		}
	}
	return out
}

func parseRange(text string) *mapping {
	from, to, _ := strings.Cut(text, "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return nil
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end <= start {
		return nil
	}
	return &mapping{uintptr(start), uintptr(end)}
}
