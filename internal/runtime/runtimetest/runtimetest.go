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
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/runtime/image"
)

// BusyBox is the image that Start imports: a static busybox with its shell's links.
const BusyBox = "sinawi.local/busybox:1"

// serveArg marks the test binary's second start, as a runtime.
const serveArg = "sinawi-runtime-for-test"

// Main runs the package's tests, or the runtime in a process started by Start. Call
// it as all of TestMain.
func Main(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		if err := runtime.Run(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Runtime is one running runtime and clients of it.
type Runtime struct {
	runtime.Config
	Runtime cri.RuntimeServiceClient
	Images  cri.ImageServiceClient
	PID     int
	conn    *grpc.ClientConn
}

// Start starts a runtime with the BusyBox image in it and purges it when the test
// ends. It skips the test where containers cannot run at all.
func Start(t testing.TB) *Runtime {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	r := &Runtime{Config: Config(t)}
	r.Launch(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := runtime.Purge(ctx, r.Config); err != nil {
			t.Errorf("purge the runtime: %v", err)
		}
		r.conn.Close()
		if t.Failed() {
			output, _ := os.ReadFile(r.LogPath)
			t.Logf("the runtime wrote:\n%s", output)
		}
	})
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
		LogPath:      filepath.Join(dir, "runtime.log"),
	}
}

// Launch starts the runtime's process (again) and connects to it.
func (r *Runtime) Launch(t testing.TB) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.PID, err = runtime.Launch(context.Background(), r.Config, self, serveArg)
	if err != nil {
		t.Fatal(err)
	}
	if r.conn != nil {
		r.conn.Close()
	}
	r.conn, err = runtime.Dial(r.Socket)
	if err != nil {
		t.Fatal(err)
	}
	r.Runtime = cri.NewRuntimeServiceClient(r.conn)
	r.Images = cri.NewImageServiceClient(r.conn)
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
	for _, name := range []string{"sh", "sleep", "echo", "cat", "ls", "id", "true", "false", "ps", "kill", "mount", "umount", "hostname", "ip", "wget", "nc", "httpd", "nslookup", "ping", "head", "tail", "dd", "stat", "touch", "mkdir", "env", "tr", "seq", "date", "grep", "sed", "awk", "wc", "yes", "df", "test", "nproc", "readlink", "unshare", "chmod", "rm", "stty", "cut"} {
		files = append(files, image.File{Path: "bin/" + name, Link: "busybox"})
	}
	return image.Spec{
		Name:  BusyBox,
		Files: files,
		Env:   []string{"PATH=/bin"},
		Cmd:   []string{"sh"},
	}
}
