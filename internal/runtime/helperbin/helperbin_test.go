package helperbin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/runtime/helperbin"
)

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	at, err := helperbin.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(at, helperbin.OCI), "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), "runc version ") {
		t.Errorf("the OCI runtime says %q, %v", out, err)
	}
	out, err = exec.Command(filepath.Join(at, helperbin.Shim), "-v").Output()
	if err != nil || !strings.Contains(string(out), "Version") {
		t.Errorf("the shim says %q, %v", out, err)
	}
	if again, err := helperbin.Unpack(dir); err != nil || again != at {
		t.Errorf("unpacked again at %q, %v", again, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("besides the programs there is %v, %v", left, err)
	}
}
