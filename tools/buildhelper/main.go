// Command buildhelper builds the small programs that the main binary carries and
// compresses them for embedding: the helper and the shim, in one archive (static, with
// cgo for libseccomp and the code that enters namespaces), and the demo's web server
// (static, without cgo, by itself).
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const tags = "netgo,osusergo,seccomp,no_btrfs,no_zfs,no_devmapper"

func main() {
	out := flag.String("out", "internal/runtime/helperbin/embedded/helper.zst", "where the compressed program, or archive of several, goes")
	packages := flag.String("package", "./cmd/sinawi-helper,./cmd/sinawi-shim", "what to build, separated by commas")
	cgo := flag.Bool("cgo", true, "link C code")
	flag.Parse()
	if err := build(strings.Split(*packages, ","), *out, *cgo); err != nil {
		fmt.Fprintln(os.Stderr, "buildhelper:", err)
		os.Exit(1)
	}
}

// program is one built file.
type program struct {
	name string
	data []byte
}

func build(packages []string, out string, cgo bool) error {
	var programs []program
	for _, pkg := range packages {
		data, err := compile(pkg, cgo)
		if err != nil {
			return err
		}
		programs = append(programs, program{filepath.Base(pkg), data})
	}
	plain := programs[0].data
	if len(programs) > 1 {
		var err error
		if plain, err = archive(programs); err != nil {
			return err
		}
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	packed := encoder.EncodeAll(plain, nil)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := replace(out, packed); err != nil {
		return err
	}
	hash := sha256.Sum256(packed)
	if err := replace(strings.TrimSuffix(out, filepath.Ext(out))+".sum", []byte(hex.EncodeToString(hash[:6]))); err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB, %.1f MB compressed\n", out, float64(len(plain))/1e6, float64(len(packed))/1e6)
	return nil
}

// compile builds one static program and returns it.
func compile(pkg string, cgo bool) ([]byte, error) {
	dir, err := os.MkdirTemp("", "sinawi-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "program")
	ldflags, enabled := "-s -w", "CGO_ENABLED=0"
	if cgo {
		ldflags, enabled = ldflags+" -linkmode external -extldflags -static", "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", "build", "-tags", tags, "-ldflags", ldflags, "-o", binary, pkg)
	cmd.Env = append(os.Environ(), enabled)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build %s (with cgo it needs a C compiler and libseccomp-dev; tools/deps.sh installs both): %w", pkg, err)
	}
	return os.ReadFile(binary)
}

func archive(programs []program) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, p := range programs {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: p.name, Mode: 0o755, Size: int64(len(p.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(p.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// replace writes a file whole or not at all: a build that embeds it may run beside
// this one.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
