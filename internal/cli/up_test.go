package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sinawi/sinawi/internal/instance"
)

func TestSwitches(t *testing.T) {
	got, err := switches([]string{"api/beta", "apps/v1=false", "resource.k8s.io/v1beta1=true"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"api/beta": true, "apps/v1": false, "resource.k8s.io/v1beta1": true}, got); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"apps/v1=maybe", "=true", "apps/v1="} {
		if _, err := switches([]string{wrong}); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func TestSchedulerConfigIsGivenOnByItsFullPath(t *testing.T) {
	t.Chdir(t.TempDir())
	parse := func(args ...string) (*serverFlags, *pflag.FlagSet) {
		set := pflag.NewFlagSet("up", pflag.ContinueOnError)
		f := (&app{}).addServerFlags(set)
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
		return f, set
	}
	text := "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	if err := os.WriteFile("scheduler.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, set := parse("--scheduler-config=scheduler.yaml", "--node-name=n1", "--node-ip=127.0.0.1")
	cfg, err := f.config(instance.Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(cfg.SchedulerConfig) || set.Lookup("scheduler-config").Value.String() != cfg.SchedulerConfig {
		t.Errorf("the server is told %q and %q", cfg.SchedulerConfig, set.Lookup("scheduler-config").Value)
	}
	f, _ = parse("--scheduler-config=other.yaml", "--node-name=n1", "--node-ip=127.0.0.1")
	if _, err := f.config(instance.Dir(t.TempDir())); err == nil || !strings.Contains(err.Error(), "other.yaml") {
		t.Errorf("of a file that is not there: %v", err)
	}
}

func TestProfilesOfAFile(t *testing.T) {
	if got, err := readProfiles(""); err != nil || got != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"two": {"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: a}, {schedulerName: b}]\n", []string{"a", "b"}},
		"bad": {"kind: Pod\n", nil},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		profiles, err := readProfiles(file)
		if (err != nil) != (tt.want == nil) || len(profiles) != len(tt.want) {
			t.Fatalf("%s: %v, %v", name, profiles, err)
		}
		for i, p := range profiles {
			if p.Name != tt.want[i] {
				t.Errorf("%s: profile %q, want %q", name, p.Name, tt.want[i])
			}
		}
	}
}
