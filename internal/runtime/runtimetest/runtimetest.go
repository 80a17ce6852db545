// Package runtimetest starts real container runtimes for tests, each a process with
// directories and cgroups of its own, and leaves nothing of them behind.
//
// A test package that uses it hands its TestMain to Main: the runtime is the test
// binary, started once more.
package runtimetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/runtime/image"
)

// BusyBox is the image that Start imports: a static busybox with its shell's links.
const BusyBox = "sinawi.local/busybox:1"

// serveArg marks the test binary's second start, as a runtime.
const serveArg = "sinawi-runtime-for-test"

// readyFD is where the second start says that it is ready.
const readyFD = 3

// Main runs the package's tests, or the runtime in a process started by Start. Call
// it as all of TestMain.
func Main(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		if err := serve([]byte(os.Args[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(config []byte) error {
	var c runtime.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	unix.CloseOnExec(readyFD) // shims would keep it open
	return runtime.Serve(ctx, c, func() { os.NewFile(readyFD, "ready").Close() })
}

// Runtime is one running runtime and clients of it.
type Runtime struct {
	runtime.Config
	Runtime cri.RuntimeServiceClient
	Images  cri.ImageServiceClient
	PID     int
	LogPath string
	conn    *grpc.ClientConn
	ended   chan struct{} // closed when the process PID has ended
}

// Start starts a runtime with the BusyBox image in it and purges it when the test
// ends. It skips the test where containers cannot run at all.
func Start(t testing.TB) *Runtime {
	t.Helper()
	return StartWith(t, Config(t))
}

// StartWith is Start with a configuration of the caller's, made from Config.
func StartWith(t testing.TB, c runtime.Config) *Runtime {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	r := &Runtime{Config: c, LogPath: filepath.Join(filepath.Dir(c.Root), "runtime.log")}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := runtime.Purge(ctx, r.Config); err != nil {
			t.Errorf("purge the runtime: %v", err)
		}
		if t.Failed() {
			output, _ := os.ReadFile(r.LogPath)
			t.Logf("the runtime wrote:\n%s", output)
		}
	})
	r.Launch(t)
	r.ImportBusyBox(t)
	return r
}

// Config is the configuration of a runtime below t.TempDir.
func Config(t testing.TB) runtime.Config {
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(dir))
	// Socket paths must be short, and names of subtests can make TempDir long.
	run, err := os.MkdirTemp("", "snw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return runtime.Config{
		Root:         filepath.Join(dir, "root"),
		State:        filepath.Join(run, "state"),
		Socket:       filepath.Join(run, "cri.sock"),
		CgroupParent: "/sinawi-test-" + hex.EncodeToString(sum[:3]),
		CNIConfDir:   filepath.Join(dir, "cni"),
	}
}

// Launch starts the runtime's process (again) and connects to it.
func (r *Runtime) Launch(t testing.TB) {
	t.Helper()
	config, err := json.Marshal(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.OpenFile(r.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	ready, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.Command(self, serveArg, string(config))
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = output, output, []*os.File{child}
	err = cmd.Start()
	child.Close()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is seen by who asks it something
		close(ended)
	}()
	r.PID, r.ended = cmd.Process.Pid, ended
	_, _ = ready.Read(make([]byte, 1)) // ends when it is closed, by ready or by an end
	r.connect(t)
}

func (r *Runtime) connect(t testing.TB) {
	t.Helper()
	conn, err := runtime.Dial(r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r.conn, r.Runtime, r.Images = conn, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
}

// Kill kills the runtime's process, as a crash would, and waits until it is dead.
func (r *Runtime) Kill(t testing.TB) {
	t.Helper()
	if err := unix.Kill(r.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.ended
}

// ImportBusyBox brings the BusyBox image in.
func (r *Runtime) ImportBusyBox(t testing.TB) {
	t.Helper()
	spec := BusyBoxSpec(t)
	archive, err := image.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Import(context.Background(), r.Socket, archive); err != nil {
		t.Fatal(err)
	}
}

// BusyBoxSpec is the image, from the machine's own static busybox.
func BusyBoxSpec(t testing.TB) image.Spec {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("no static busybox on this machine (install busybox-static): %v", err)
	}
	files := []image.File{
		{Path: "bin/busybox", Data: program, Mode: 0o755},
		{Path: "etc/passwd", Data: []byte("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n")},
		{Path: "etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\napp:x:1000:\n")},
		{Path: "tmp/", Mode: 0o1777},
	}
	for _, name := range []string{"sh", "sleep", "echo", "cat", "ls", "id", "true", "false", "ps", "kill", "mount", "umount", "hostname", "ip", "wget", "nc", "httpd", "nslookup", "ping", "head", "tail", "dd", "stat", "touch", "mkdir", "env", "tr", "seq", "date", "grep", "sed", "awk", "wc", "yes", "df", "test", "nproc", "readlink", "unshare", "chmod", "rm", "stty", "cut", "tar"} {
		files = append(files, image.File{Path: "bin/" + name, Link: "busybox"})
	}
	return image.Spec{
		Name:  BusyBox,
		Files: files,
		Env:   []string{"PATH=/bin"},
		Cmd:   []string{"sh"},
	}
}
