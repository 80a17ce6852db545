package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"
)

const (
	at1 = "2026-11-21T10:00:01.000000001Z"
	at2 = "2026-11-21T10:00:02.5Z"
	at3 = "2026-11-21T10:00:03Z"
)

var sample = at1 + " stdout F one\n" +
	at2 + " stderr P two, \n" +
	at2 + " stderr F rest\n" +
	"damaged\n" +
	at3 + " stdout F three\n" +
	at3 + " stdout F open"

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func ptr[T any](v T) *T { return &v }

func TestRead(t *testing.T) {
	since, err := time.Parse(time.RFC3339Nano, at2)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		options ReadOptions
		out     string
		err     string
	}{
		"all":            {out: "one\nthree\nopen", err: "two, rest\n"},
		"timestamps":     {options: ReadOptions{Timestamps: true}, out: "2026-11-21T10:00:01.000000001Z one\n2026-11-21T10:00:03.000000000Z three\n2026-11-21T10:00:03.000000000Z open", err: "2026-11-21T10:00:02.500000000Z two, rest\n"},
		"since":          {options: ReadOptions{Since: since}, out: "three\nopen", err: "two, rest\n"},
		"tail none":      {options: ReadOptions{Tail: ptr(int64(0))}},
		"tail one":       {options: ReadOptions{Tail: ptr(int64(1))}, out: "open"},
		"tail two":       {options: ReadOptions{Tail: ptr(int64(2))}, out: "three\nopen"},
		"tail many":      {options: ReadOptions{Tail: ptr(int64(100))}, out: "one\nthree\nopen", err: "two, rest\n"},
		"limit":          {options: ReadOptions{LimitBytes: ptr(int64(6))}, out: "one\n", err: "tw"},
		"limit none":     {options: ReadOptions{LimitBytes: ptr(int64(0))}},
		"tail and limit": {options: ReadOptions{Tail: ptr(int64(2)), LimitBytes: ptr(int64(3))}, out: "thr"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if err := Read(t.Context(), write(t, sample), test.options, &stdout, &stderr); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{test.out, test.err}, []string{stdout.String(), stderr.String()}); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("one stream", func(t *testing.T) {
		var stdout bytes.Buffer
		if err := Read(t.Context(), write(t, sample), ReadOptions{LimitBytes: ptr(int64(7))}, &stdout, nil); err != nil || stdout.String() != "one\nthr" {
			t.Errorf("%q %v", stdout.String(), err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		if err := Read(t.Context(), filepath.Join(t.TempDir(), "none"), ReadOptions{}, nil, nil); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// The start of the tail is what counting all lines from the front finds.
func TestTailStart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-c]{0,3}`)).Draw(r, "lines")
		text := strings.Join(lines, "\n")
		pad := strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 65535, 65536, 65537, 200000}).Draw(r, "pad"))
		text = pad + text
		n := rapid.Int64Range(0, 6).Draw(r, "n")
		all := slices.Collect(strings.Lines(text))
		want := strings.Join(all[max(0, len(all)-int(n)):], "")
		file, err := os.Open(write(t, text))
		if err != nil {
			r.Fatal(err)
		}
		defer file.Close()
		start, err := tailStart(file, n)
		if err != nil || text[start:] != want {
			r.Fatalf("got %q, want %q: %v", text[start:], want, err)
		}
	})
}

// buffer is a Writer that another goroutine waits for.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) wait(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		got := b.data.String()
		b.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func add(t *testing.T, file *os.File, text string) {
	t.Helper()
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func line(text string) string { return at1 + " stdout F " + text + "\n" }

// A follower sees each line once: through half-written lines and rotation, to
// what is written last.
func TestFollow(t *testing.T) {
	path := write(t, line("one"))
	open := func() *os.File {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	var running atomic.Bool
	running.Store(true)
	var out buffer
	done := make(chan error, 1)
	go func() {
		done <- Read(t.Context(), path, ReadOptions{Follow: true, Tail: ptr(int64(10)),
			Running: func(context.Context) (bool, error) { return running.Load(), nil }}, &out, &out)
	}()
	out.wait(t, "one\n")
	old := open()
	add(t, old, line("two")+at1+" stdout F thr")
	out.wait(t, "one\ntwo\n")
	add(t, old, "ee\n")
	out.wait(t, "one\ntwo\nthree\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add(t, old, line("four"))
	fresh := open()
	add(t, fresh, line("six"))
	// The new file is written to, and the old one still is.
	out.wait(t, "one\ntwo\nthree\nfour\n")
	time.Sleep(3 * recheckFirst)
	add(t, old, line("five"))
	old.Close()
	out.wait(t, "one\ntwo\nthree\nfour\nfive\nsix\n")
	running.Store(false)
	time.Sleep(2 * recheckLast / 3) // the end is seen before the last line is written
	add(t, fresh, line("last"))
	fresh.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("following does not end with the container")
	}
	out.wait(t, "one\ntwo\nthree\nfour\nfive\nsix\nlast\n")
}

func TestFollowEndsWithItsReader(t *testing.T) {
	path := write(t, line("one"))
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	done := make(chan error, 1)
	go func() {
		done <- Read(ctx, path, ReadOptions{Follow: true, Running: func(context.Context) (bool, error) { return true, nil }}, &out, &out)
	}()
	out.wait(t, "one\n")
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("following goes on")
	}
}

// Where the kernel has no more watches to give, following goes on without.
func TestWaitWithoutWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &dirWatch{recheck: recheckFirst}
		began := time.Now()
		for range 8 {
			if err := w.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(began); waited > 8*recheckLast || w.recheck != recheckLast {
			t.Errorf("waited %v, then %v", waited, w.recheck)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	for _, seed := range strings.SplitAfter(sample, "\n") {
		f.Add([]byte(seed))
	}
	f.Add([]byte(at1 + " stdout P:x:y \n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		line, err := ParseLine(raw)
		if err != nil {
			return
		}
		tag := "F"
		text := string(line.Text)
		if line.Partial {
			tag = "P"
			text += "\n"
		}
		again, err := ParseLine([]byte(line.Time.Format(time.RFC3339Nano) + " " + string(line.Stream) + " " + tag + " " + text))
		if line.Time.Year() < 0 || line.Time.Year() > 9999 {
			return
		}
		if err != nil || !again.Time.Equal(line.Time) || again.Stream != line.Stream || again.Partial != line.Partial || !bytes.Equal(again.Text, line.Text) {
			t.Errorf("%q: %+v became %+v: %v", raw, line, again, err)
		}
	})
}

func TestMessage(t *testing.T) {
	long := strings.Repeat("x", 5000)
	var many strings.Builder
	for i := range 200 {
		many.WriteString(line(fmt.Sprint(i)))
	}
	log := write(t, many.String())
	var last80 strings.Builder
	for i := 120; i < 200; i++ {
		fmt.Fprintln(&last80, i)
	}
	wide := write(t, line(long))
	pipe := t.TempDir()
	tests := map[string]struct {
		file, policy, log string
		failed            bool
		want              string
	}{
		"file":                     {file: write(t, "bye"), policy: "File", want: "bye"},
		"end of a long file":       {file: write(t, "begin"+long), want: long[:4096]},
		"not text":                 {file: write(t, "a\xffb"), want: "a\uFFFDb"},
		"no file":                  {file: "/nonexistent/file", policy: "File", log: log, failed: true},
		"log of a failed one":      {file: write(t, ""), policy: "FallbackToLogsOnError", log: log, failed: true, want: last80.String()},
		"log of a good one":        {file: write(t, ""), policy: "FallbackToLogsOnError", log: log},
		"file over log":            {file: write(t, "bye"), policy: "FallbackToLogsOnError", log: log, failed: true, want: "bye"},
		"no file to look at":       {policy: "FallbackToLogsOnError", log: log, failed: true, want: last80.String()},
		"end of a log's wide line": {policy: "FallbackToLogsOnError", log: wide, failed: true, want: long[:2047] + "\n"},
		"a directory":              {file: pipe, want: "Error on reading termination log " + pipe + ": it is not a regular file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Message(test.file, test.policy, test.log, test.failed)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// reopener is a runtime with one container that writes to path.
type reopener struct {
	path string
	file *os.File
	err  error
	asks int
}

func (r *reopener) ListContainers(_ context.Context, in *cri.ListContainersRequest, _ ...grpc.CallOption) (*cri.ListContainersResponse, error) {
	r.asks++
	want := map[string]string{"io.kubernetes.pod.uid": "uid-1", "io.kubernetes.container.name": "app"}
	if !cmp.Equal(in.Filter.LabelSelector, want) {
		return &cri.ListContainersResponse{}, nil
	}
	return &cri.ListContainersResponse{Containers: []*cri.Container{{Id: "id", Metadata: &cri.ContainerMetadata{Attempt: 2}}}}, nil
}

func (r *reopener) ReopenContainerLog(context.Context, *cri.ReopenContainerLogRequest, ...grpc.CallOption) (*cri.ReopenContainerLogResponse, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.file.Close()
	var err error
	r.file, err = os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	return &cri.ReopenContainerLogResponse{}, err
}

func TestRotate(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "shop_web_uid-1", "app", "2.log")
	r := &reopener{path: path}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	r.ReopenContainerLog(t.Context(), nil)
	defer func() { r.file.Close() }()
	rotator := New(r, Options{Dir: root, MaxSize: 100, MaxFiles: 3})
	once := func() {
		t.Helper()
		if err := rotator.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	add(t, r.file, line("small"))
	once()
	if r.asks != 0 {
		t.Error("the runtime was asked about a small log")
	}
	for i := range 5 {
		add(t, r.file, strings.Repeat(line(fmt.Sprint("round ", i)), 10))
		once()
	}
	// The current one, the last one rotated as it is, and one older, compressed.
	var names []string
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) != 3 || names[0] != "2.log" || !strings.HasSuffix(names[1], ".gz") || strings.HasSuffix(names[2], ".gz") {
		t.Fatalf("files: %v", names)
	}
	file, err := os.Open(filepath.Join(filepath.Dir(path), names[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(unzip); err != nil || string(data) != strings.Repeat(line("round 3"), 10) {
		t.Errorf("compressed: %q %v", data, err)
	}
	// When the runtime does not reopen it, the log stays where it is looked for.
	add(t, r.file, strings.Repeat(line("again"), 10))
	r.err = errors.New("no runtime")
	if err := rotator.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "no runtime") {
		t.Errorf("got %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the log was moved away: %v", err)
	}
	// A log of a container that does not run is left alone.
	dead := filepath.Join(root, "shop_web_uid-1", "app", "1.log")
	if err := os.WriteFile(dead, bytes.Repeat([]byte("x"), 200), 0o640); err != nil {
		t.Fatal(err)
	}
	r.err = nil
	once()
	if _, err := os.Stat(dead); err != nil {
		t.Error(err)
	}
	if err := errors.Join(Remove(path), Remove(dead), Remove(dead)); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}
