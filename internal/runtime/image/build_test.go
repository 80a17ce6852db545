package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBuildIsPure(t *testing.T) {
	spec := Spec{Name: "example.com/app:1", Files: []File{{Path: "b/c", Data: []byte("c")}, {Path: "a", Link: "b/c"}}, Cmd: []string{"/a"}}
	var built [2][]byte
	for i := range built {
		archive, err := Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		if built[i], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("the same image was built differently")
	}
	if _, err := Build(Spec{}); err == nil {
		t.Error("an image without a name was built")
	}
}

func TestLayer(t *testing.T) {
	layer, err := layerOf([]File{
		{Path: "/usr/bin/tool", Data: []byte("x"), Mode: 0o755},
		{Path: "../../etc/passwd", Data: []byte("root")},
		{Path: "tmp/", Mode: 0o1777},
		{Path: "bin", Link: "usr/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	want := []string{"bin", "etc/", "etc/passwd", "tmp/", "usr/", "usr/bin/", "usr/bin/tool"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if _, err := layerOf([]File{{Path: "/"}}); err == nil {
		t.Error("a file without a name was packed")
	}
}

// The pause program is machine code: it runs, and ends by a signal only.
func TestPauseProgram(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		if program, err := pauseProgram(arch); err != nil || len(program) > 700 {
			t.Errorf("%s: %d bytes, %v", arch, len(program), err)
		}
	}
	if _, err := pauseProgram("riscv64"); err == nil {
		t.Error("a program for an unknown architecture was made")
	}
	program, err := pauseProgram(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Errorf("it did not run: %v", err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended by %v", err)
	}
}
