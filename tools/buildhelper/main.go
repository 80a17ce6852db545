// Command buildhelper builds the small programs that the main binary carries and
// compresses them for embedding: the helper (static, with cgo for libseccomp and the
// code that enters namespaces) and the demo's web server (static, without cgo).
package main

import (
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
	out := flag.String("out", "internal/runtime/helperbin/embedded/helper.zst", "where the compressed program goes")
	pkg := flag.String("package", "./cmd/sinawi-helper", "what to build")
	cgo := flag.Bool("cgo", true, "link C code")
	flag.Parse()
	if err := build(*pkg, *out, *cgo); err != nil {
		fmt.Fprintln(os.Stderr, "buildhelper:", err)
		os.Exit(1)
	}
}

func build(pkg, out string, cgo bool) error {
	dir, err := os.MkdirTemp("", "sinawi-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, filepath.Base(pkg))
	ldflags, enabled := "-s -w", "CGO_ENABLED=0"
	if cgo {
		ldflags, enabled = ldflags+" -linkmode external -extldflags -static", "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags", ldflags, "-o", binary, pkg)
	cmd.Env = append(os.Environ(), enabled)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s (with cgo it needs a C compiler and libseccomp-dev; tools/deps.sh installs both): %w", pkg, err)
	}
	plain, err := os.ReadFile(binary)
	if err != nil {
		return err
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

// replace writes a file whole or not at all: a build that embeds it may run beside
// this one.
func replace(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
