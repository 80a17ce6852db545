package leftover

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/proto"
)

func TestAnswer(t *testing.T) {
	now := time.Unix(1_700_000_000, 5)
	for name, tt := range map[string]struct {
		files   map[string]string
		state   bool
		ok      bool
		pid     uint32
		status  uint32
		seconds int64
	}{
		"ended":         {files: map[string]string{"exit.json": `{"Timestamp":"2023-11-14T22:13:25.000000007Z","Pid":42,"Status":3}`}, ok: true, pid: 42, status: 3, seconds: 1_700_000_005},
		"nothing known": {ok: true, status: 137, seconds: now.Unix()},
		"still there":   {state: true},
		"damaged":       {files: map[string]string{"exit.json": "{"}},
		"no options":    {files: map[string]string{"options.json": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			root, bundle := t.TempDir(), filepath.Join(t.TempDir(), "id")
			files := map[string]string{"options.json": `{"binary_name":"/runc","root":"` + root + `"}`}
			for name, content := range tt.files {
				files[name] = content
			}
			if err := os.Mkdir(bundle, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(bundle, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.state {
				if err := os.MkdirAll(filepath.Join(root, "k8s.io", "id"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := Answer([]string{"shim", "-namespace", "k8s.io", "-id", "id", "-bundle", bundle, "delete"}, now)
			if ok != tt.ok {
				t.Fatalf("answered: %v", ok)
			}
			var r task.DeleteResponse
			if err := proto.Unmarshal(got, &r); err != nil {
				t.Fatal(err)
			}
			if r.GetPid() != tt.pid || r.GetExitStatus() != tt.status || r.GetExitedAt().GetSeconds() != tt.seconds {
				t.Errorf("got %v", &r)
			}
		})
	}
	for _, args := range [][]string{nil, {"shim", "start"}, {"shim", "-bundle"}, {"shim", "-bundle", "delete"}} {
		if _, ok := Answer(args, now); ok {
			t.Errorf("%v was answered", args)
		}
	}
}
